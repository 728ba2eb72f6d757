/**
 * The rows of another thread's memory, asked for while that thread runs.
 *
 * The thread serves its memory on one end of a message channel; whoever has the other end asks. A
 * thread that returns to its event loop answers there. One that computes without end calls
 * `safePoint()` now and then, which costs one atomic load: a word both threads share says whether
 * somebody asks. Where memory cannot be shared, in a page without isolation, only the event loop
 * answers. Who asks always gets an answer in time: the rows, or an error.
 *
 * @see PostgreSQL: src/backend/utils/adt/mcxtfuncs.c, pg_log_backend_memory_contexts; mcxt.c,
 * HandleLogMemoryContextInterrupt, ProcessLogMemoryContextInterrupt
 */

import { PallocError } from "../abi/errors.ts";
import type { MemorySight } from "./memory-sight.ts";
import type { MemoryContextRow } from "./rows.ts";

/** One end of a channel: a `MessagePort` of Node or a browser fits, as does a `Worker`'s. */
export interface RowsPort {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: object) => void): void;
  removeEventListener(type: "message", listener: (event: object) => void): void;
  /** Begins delivery; ports have it, workers need none. */
  start?(): void;
}

/** What {@link serveRows} returns. */
export interface RowsServer {
  /** Answers if somebody has asked: one atomic load if not. */
  safePoint(): void;
  /** Ends the service; who asks later hears nothing and runs into the timeout. */
  [Symbol.dispose](): void;
}

/** What another thread's memory holds. */
export interface RemoteRows {
  readonly rows: readonly MemoryContextRow[];
  /** PostgreSQL's text: its opening line, then a line for each context and the grand total. */
  readonly text: string;
}

/** How long {@link requestRows} waits, and what the text calls the thread. */
export interface RequestRowsOptions {
  /** Milliseconds until the thread counts as not answering. Default 5000. */
  readonly timeoutMs?: number;
  /** What stands for the process in the text: `logging memory contexts of PID 7`. Default 0. */
  readonly pid?: number;
}

/** Messages carry this name, so that a port may carry others, too. */
const PROTOCOL = "palloc.rows";
const DEFAULT_TIMEOUT_MS = 5000;

type Message =
  | { readonly palloc: typeof PROTOCOL; readonly kind: "offer"; readonly word: SharedArrayBuffer }
  | { readonly palloc: typeof PROTOCOL; readonly kind: "ask"; readonly id: number }
  | {
      readonly palloc: typeof PROTOCOL;
      readonly kind: "answer";
      readonly id: number;
      readonly rows: readonly MemoryContextRow[];
      readonly stats: string;
      readonly failure: string | undefined;
    };

/** The shared word of each port whose other end has offered one. */
const words = new WeakMap<RowsPort, Int32Array>();
let lastId = 0;

/**
 * Serves the rows of a memory on one end of a channel, until disposed of. To be called in the
 * memory's thread.
 *
 * @example
 * ```ts
 * using rows = serveRows(memory, port);
 * for (const job of jobs) {
 *   work(job);
 *   rows.safePoint();
 * }
 * ```
 */
export function serveRows(memory: MemorySight, port: RowsPort): RowsServer {
  const word = sharedWord();
  let served = 0;
  const serve = (id: number): void => {
    // An answer serves all who asked before it; the message repeats what the word said.
    if (id <= served) return;
    served = id;
    port.postMessage(answerOf(memory, id));
  };
  const listener = (event: object): void => {
    const message = messageOf(event);
    if (message?.kind === "ask") serve(message.id);
  };
  port.addEventListener("message", listener);
  port.start?.();
  if (word !== undefined) {
    port.postMessage({ palloc: PROTOCOL, kind: "offer", word: word.buffer });
  }
  return {
    safePoint: () => {
      if (word !== undefined && Atomics.load(word, 0) > served) serve(Atomics.load(word, 0));
    },
    [Symbol.dispose]: () => port.removeEventListener("message", listener),
  };
}

/**
 * Asks the thread at the other end of a channel for the rows of its memory. It answers from its
 * event loop or at its next safe point.
 *
 * @throws {@link PallocError} 57014 if it has not answered in time; 55000 if its memory is closed
 */
export async function requestRows(
  port: RowsPort,
  options: RequestRowsOptions = {},
): Promise<RemoteRows> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, pid = 0 } = options;
  if (!(timeoutMs >= 0)) throw new RangeError(`timeoutMs is a time from 0, not ${timeoutMs}`);
  lastId += 1;
  const id = lastId;
  const answer = await ask(port, id, timeoutMs);
  if (answer === undefined) {
    throw new PallocError("57014", "canceling request for memory contexts due to timeout", {
      detail: `The thread has not answered within ${timeoutMs} ms.`,
      hint: "It answers from its event loop, or where it calls safePoint().",
    });
  }
  if (answer.failure !== undefined) throw new PallocError("55000", answer.failure);
  return { rows: answer.rows, text: `logging memory contexts of PID ${pid}\n${answer.stats}` };
}

type Answer = Extract<Message, { readonly kind: "answer" }>;

function ask(port: RowsPort, id: number, timeoutMs: number): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const finish = (answer: Answer | undefined): void => {
      clearTimeout(timer);
      port.removeEventListener("message", listener);
      resolve(answer);
    };
    const listener = (event: object): void => {
      const message = messageOf(event);
      if (message?.kind === "offer") {
        words.set(port, new Int32Array(message.word));
        raise(port, id);
      } else if (message?.kind === "answer" && message.id >= id) finish(message);
    };
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    port.addEventListener("message", listener);
    port.start?.();
    raise(port, id);
    port.postMessage({ palloc: PROTOCOL, kind: "ask", id });
  });
}

/** Says through the shared word, if there is one yet, that somebody asks. */
function raise(port: RowsPort, id: number): void {
  const word = words.get(port);
  if (word !== undefined && Atomics.load(word, 0) < id) Atomics.store(word, 0, id);
}

function answerOf(memory: MemorySight, id: number): Answer {
  const envelope = { palloc: PROTOCOL, kind: "answer", id } as const;
  try {
    const rows = memory.rows();
    return { ...envelope, rows, stats: memory.statsText(), failure: undefined };
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    return { ...envelope, rows: [], stats: "", failure };
  }
}

function sharedWord(): Int32Array<SharedArrayBuffer> | undefined {
  if (typeof SharedArrayBuffer === "undefined") return undefined;
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
}

/** What an event brings, if it is meant for us. */
function messageOf(event: object): Message | undefined {
  const data: unknown = "data" in event ? event.data : undefined;
  const isOurs =
    typeof data === "object" && data !== null && "palloc" in data && data.palloc === PROTOCOL;
  return isOurs ? (data as Message) : undefined;
}
