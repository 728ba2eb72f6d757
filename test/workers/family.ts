// The test's end of a tree of threads (family.worker.ts).

import { Worker } from "node:worker_threads";
import type { Settings, SharedMemoryHandle } from "../../bindings/index.ts";

/** What a thread of the tree can be told. */
export interface FamilyCommands {
  spawn(name: string): number;
  kill(name: string): Promise<void>;
  own(settings: Settings): Promise<SharedMemoryHandle>;
  watch(handle: SharedMemoryHandle, names: readonly string[]): void;
  backendWatch(name: string): void;
  attach(handle: SharedMemoryHandle): Promise<number>;
  attachSync(handle: SharedMemoryHandle): number;
  detach(): void;
  create(name: string): void;
  lock(name: string): void;
  readSync(name: string): void;
  read(name: string): Promise<void>;
  clients(): number[];
  exit(code: number): void;
  throwUncaught(): void;
  count(words: Int32Array): void;
}

/** A message to a thread. */
export interface FamilyCall {
  readonly id: number;
  /** Names of the threads it goes through. */
  readonly path: readonly string[];
  readonly command: keyof FamilyCommands;
  readonly args: readonly unknown[];
}

/** What comes back. */
export interface FamilyAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: {
    readonly code: string | undefined;
    readonly message: string;
    readonly hint: string | undefined;
  };
}

/** A worker of the test's own thread, and those below it. */
export class Family {
  readonly worker: Worker = new Worker(
    new URL("../../dist/test/workers/family.worker.js", import.meta.url),
  );
  readonly exited: Promise<unknown>;
  readonly #waiting = new Map<number, (answer: FamilyAnswer) => void>();
  #calls = 0;

  constructor() {
    this.exited = new Promise((resolve) => this.worker.once("exit", resolve));
    this.worker.on("message", (answer: FamilyAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.worker.on("error", () => {});
  }

  /** Runs a command in the thread at the end of `path`, "" for the first: "a/b". */
  call<Name extends keyof FamilyCommands>(
    path: string,
    command: Name,
    ...args: Parameters<FamilyCommands[Name]>
  ): Promise<Awaited<ReturnType<FamilyCommands[Name]>>> {
    const id = this.#calls;
    this.#calls += 1;
    const names = path === "" ? [] : path.split("/");
    this.worker.postMessage({ id, path: names, command, args } satisfies FamilyCall);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ value, error }) => {
        if (error === undefined) resolve(value as Awaited<ReturnType<FamilyCommands[Name]>>);
        else reject(Object.assign(new Error(error.message), error));
      });
    });
  }

  /** Tells a thread something that it will not answer. */
  tell<Name extends keyof FamilyCommands>(
    path: string,
    command: Name,
    ...args: Parameters<FamilyCommands[Name]>
  ): void {
    void this.call(path, command, ...args);
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
