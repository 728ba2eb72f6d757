/**
 * I/O workers: threads that read for all backends. Each takes the request that has waited longest,
 * reads with one synchronous call straight into its frames, looks whether they are pages, and says
 * how it went. It knows nothing of errors: who asked meets them in a read of its own.
 *
 * PostgreSQL: src/backend/storage/aio/method_worker.c, IoWorkerMain
 */

import {
  BACKEND_IO_WORKER,
  BLOCK_BYTES,
  FORK_BITS,
  ST_OK,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import type { Helpers, ScriptAddress } from "./helper-threads.ts";
import { type Routine, runSync, SLEEP } from "./routine.ts";
import type { ResolvedSettings } from "./settings.ts";
import { nodeModule } from "./threads.ts";

/** Beside the folder of this module. */
const ENTRY = "../io-worker.js";
/** Name of the helper. @internal */
export const IO_WORKER = "ioworker";

/** What a worker works with. @internal */
export interface IoWorkerParts {
  readonly attachment: Attachment;
  readonly storage: StorageManager;
  /** Called once requests reach this worker. */
  ready(): void;
}

/**
 * Starts io_workers threads where reads go through them, and waits until they are at work.
 *
 * @param entry - their script; `false` starts none
 * @internal
 */
export async function startIoWorkers(
  helpers: Helpers,
  settings: ResolvedSettings,
  entry: ScriptAddress | false | undefined,
): Promise<void> {
  const { io_method, io_workers } = settings.values;
  const onNode = nodeModule("node:worker_threads") !== undefined;
  if (io_method !== "worker" || entry === false || (entry === undefined && !onNode)) return;
  const plan = { helper: IO_WORKER, entry: entry ?? ENTRY };
  await Promise.all(Array.from({ length: io_workers }, () => helpers.start(plan)));
}

/**
 * Reads for others until the region ends, in the calling thread.
 *
 * @throws 57P01 or 57P02 when it has
 * @internal
 */
export function serveReads({ attachment, storage, ready }: IoWorkerParts): never {
  attachment.exports.setKind(BACKEND_IO_WORKER);
  ready();
  return runSync(attachment, storage, serving(attachment));
}

/** Takes one request after another; ends by the error of a wait. @internal */
export function* serving(attachment: Attachment): Routine<never> {
  const { exports } = attachment;
  const pages = new FramePages(attachment);
  for (;;) {
    attachment.mustRun();
    const request = exports.takeRequest();
    if (request >= 0) exports.endRequest(request, (yield* read(exports, request, pages)) ? 1 : 0);
    else if (exports.awaitWork() !== ST_OK) yield SLEEP;
  }
}

/** Storage's part of a request; false if it fails. */
function* read(exports: SharedExports, request: number, frames: FramePages): Routine<boolean> {
  const file = exports.requestFile(request);
  const fork = (file & ((1 << FORK_BITS) - 1)) as Fork;
  const block = exports.requestBlock(request) >>> 0;
  const pages = Array.from({ length: exports.requestPages(request) }, (_, index) =>
    frames.of(exports.requestBuffer(request, index)),
  );
  try {
    yield { op: "read", relation: file >>> FORK_BITS, fork, block, pages };
    return true;
  } catch {
    return false;
  }
}

/** Frames as bytes, each made once. */
class FramePages {
  readonly #attachment: Attachment;
  readonly #firstFrame: number;
  readonly #views: (Uint8Array | undefined)[] = [];

  constructor(attachment: Attachment) {
    this.#attachment = attachment;
    this.#firstFrame = attachment.exports.frameAddress(0) >>> 0;
  }

  of(buffer: number): Uint8Array {
    const known = this.#views[buffer];
    if (known !== undefined) return known;
    const at = this.#firstFrame + buffer * BLOCK_BYTES;
    const view = new Uint8Array(this.#attachment.buffer, at, BLOCK_BYTES);
    this.#views[buffer] = view;
    return view;
  }
}
