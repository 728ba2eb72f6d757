/**
 * Pools and files full of pages that carry their own number, for rows about the buffer pool: a
 * contender's check reads the number and knows whether it was given the page it asked for.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BLOCK_BYTES } from "../assembly/common/constants.ts";
import {
  Backend,
  type BufferPool,
  initPage,
  type Relation,
  type Settings,
  SharedMemory,
} from "../bindings/index.ts";
import type { StorageManager, StorageOpener } from "../bindings/storage/manager.ts";
import { memoryStorage } from "../bindings/storage/memory.ts";
import { nodeFiles } from "../bindings/storage/node-fs.ts";

/** Where each page carries its own number: behind the page header. */
export const STAMP_OFFSET = 24;

/** The relation that all rows read. */
export const RELATION = "flights";

/** A backend of this thread on a pool of its own. */
export interface OpenPool {
  readonly shared: SharedMemory;
  readonly backend: Backend;
  readonly pool: BufferPool;
  readonly relation: Relation;
  close(): Promise<void>;
}

/**
 * Attaches this thread to a new region and opens its relation, which is made if it is not there.
 *
 * @param opener - for storage that a thread cannot open from its handle
 */
export async function openRegion(
  storage: StorageManager,
  settings: Settings,
  opener?: StorageOpener,
): Promise<OpenPool> {
  const shared = await SharedMemory.create({ settings, storage });
  const backend = await Backend.attach(shared.handle, opener && { storage: opener });
  const relation = backend.relationNamesSync().includes(RELATION)
    ? backend.openRelationSync(RELATION)
    : backend.createRelationSync(RELATION);
  const close = async (): Promise<void> => {
    backend.detach();
    await shared.close();
  };
  return { shared, backend, pool: backend.buffers, relation, close };
}

/** A pool of the default size whose first `pages` pages of one relation are in it and stamped. */
export async function openPool(pages: number): Promise<OpenPool> {
  const open = await openRegion(memoryStorage(), { shared_buffers: "128MB" });
  fill(open, pages);
  return open;
}

/** Makes the relation `pages` long, each page with a header and its number. */
export function fill({ pool, relation }: OpenPool, pages: number): void {
  pool.extendSync(relation, pages);
  for (let block = 0; block < pages; block += 1) {
    pool.changeSync(relation, block, (bytes) => {
      initPage(bytes);
      stamp(bytes, block);
    });
  }
}

/** Writes a page's number into it. */
export function stamp(bytes: Uint8Array, block: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(STAMP_OFFSET, block, true);
}

/** @throws if `bytes` are not those of page `block` */
export function checkPage(bytes: Uint8Array | undefined, block: number): void {
  if (bytes?.length !== BLOCK_BYTES) throw new Error(`block ${block} is not ${BLOCK_BYTES} bytes`);
  const found = new DataView(bytes.buffer, bytes.byteOffset).getUint32(STAMP_OFFSET, true);
  if (found !== block) throw new Error(`block ${block} holds the bytes of block ${found}`);
}

/** A data directory with one relation of stamped pages. */
export interface DataDirectory {
  readonly directory: string;
  /** The relation's file, for contenders that read it themselves. */
  readonly file: string;
  remove(): void;
}

/**
 * Writes `pages` stamped pages to a temporary directory; they are in the system's cache then.
 *
 * @param settings - of pools that will open it, as far as the directory depends on them
 */
export async function makeDirectory(pages: number, settings: Settings): Promise<DataDirectory> {
  const directory = mkdtempSync(join(tmpdir(), "palloc-bench-"));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  try {
    const open = await openRegion(nodeFiles(directory), settings);
    fill(open, pages);
    open.backend.checkpointSync();
    const file = join(directory, "base", String(open.relation.number));
    await open.close();
    return { directory, file, remove };
  } catch (error) {
    remove();
    throw error;
  }
}
