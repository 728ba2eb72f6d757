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
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import type { Helpers, ScriptAddress } from "./helper-threads.ts";
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

/** Reads for others until the region ends. @throws 57P01 or 57P02 when it has @internal */
export function serveReads(parts: IoWorkerParts): never {
  const { attachment } = parts;
  const { exports } = attachment;
  const pages = new FramePages(attachment);
  exports.setKind(BACKEND_IO_WORKER);
  parts.ready();
  for (;;) {
    attachment.mustRun();
    const request = exports.takeRequest();
    if (request >= 0) exports.endRequest(request, read(parts, request, pages) ? 1 : 0);
    else if (exports.awaitWork() !== ST_OK) attachment.sleep(Number.POSITIVE_INFINITY);
  }
}

/** Storage's part of a request; false if it fails. */
function read({ attachment, storage }: IoWorkerParts, request: number, pages: FramePages): boolean {
  const { exports } = attachment;
  const file = exports.requestFile(request);
  const block = exports.requestBlock(request) >>> 0;
  const into = Array.from({ length: exports.requestPages(request) }, (_, index) =>
    pages.of(exports.requestBuffer(request, index)),
  );
  try {
    storage.readvSync(file >>> FORK_BITS, (file & ((1 << FORK_BITS) - 1)) as Fork, block, into);
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
