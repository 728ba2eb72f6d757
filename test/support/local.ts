// Local buffers without a region around them: a process memory, a scratch page, and storage that
// can be told to fail. What they do is written down in `log`.

import type { ForkId } from "../../bindings/abi/pointers.ts";
import { ProcessMemory, type ProcessMemoryOptions } from "../../bindings/process/memory.ts";
import { LocalBuffers, type LocalTraffic } from "../../bindings/shared/local-buffers.ts";
import { PrivatePages } from "../../bindings/shared/private-pages.ts";
import { TempRelations } from "../../bindings/shared/temp-relations.ts";
import { StorageError, type StorageManager } from "../../bindings/storage/manager.ts";
import { RawRegion } from "./region.ts";

/** What storage refuses at the moment. */
export interface Fault {
  reads: boolean;
  writes: boolean;
  unlinks: boolean;
}

/** How local buffers are made. */
export interface LocalOptions {
  readonly storage: StorageManager;
  readonly checked: boolean;
  readonly pages: number;
  readonly slot?: number;
  readonly checksums?: boolean;
  readonly memory?: ProcessMemoryOptions;
}

/** Local buffers with what they are made of. */
export interface Local {
  readonly buffers: LocalBuffers;
  readonly relations: TempRelations;
  readonly memory: ProcessMemory;
  readonly fault: Fault;
  /** `hit`, `evict`, `dirty`, `extend 3`, and reads and writes as storage saw them. */
  readonly log: string[];
  /** PostgreSQL's checksum of a page, by shared.wasm. */
  checksum(page: Uint8Array, block: number): number;
  close(): void;
}

const regions = new Map<string, RawRegion>();

/** A region serves for any number of tests: only one scratch page of it is used. */
function regionFor(checked: boolean, checksums: boolean): RawRegion {
  const key = `${checked} ${checksums}`;
  const region = regions.get(key) ?? new RawRegion({ checked, checksums, backends: 1 });
  regions.set(key, region);
  return region;
}

/** Makes them. Without checksums any bytes are a page. */
export function openLocal(options: LocalOptions): Local {
  const { checked, pages, slot = 1, checksums = true } = options;
  const region = regionFor(checked, checksums);
  const exports = region.backend(1);
  const address = exports.scratchAddress() >>> 0;
  const buffer = region.memory.buffer as SharedArrayBuffer;
  const checks = new PrivatePages({ exports, buffer, address, checksums });
  const log: string[] = [];
  const fault: Fault = { reads: false, writes: false, unlinks: false };
  const storage = watched(options.storage, fault, log);
  const memory = ProcessMemory.createSync({ ...options.memory, checked });
  const buffers: LocalBuffers = new LocalBuffers({
    storage,
    memory,
    pages,
    slot,
    checks,
    traffic: logged(log),
    damage: { zero_damaged_pages: false, ignore_checksum_failure: false },
    warn: (message) => log.push(`warning: ${message}`),
    nameOf: (relation) => relations.nameOf(relation) ?? String(relation),
  });
  const relations: TempRelations = new TempRelations({ storage, buffers, slot });
  const close = (): void => {
    Object.assign(fault, { reads: false, writes: false, unlinks: false });
    relations.detach();
    memory.dispose();
  };
  const checksum = (page: Uint8Array, block: number): number => {
    new Uint8Array(buffer, address, page.length).set(page);
    return exports.pageChecksum(address, block);
  };
  return { buffers, relations, memory, fault, log, checksum, close };
}

/** The main fork of a relation. */
export function forkOf(relation: number): ForkId {
  return (relation * 4) as ForkId;
}

/** How a page is called in a log. */
export function pageAt(relation: number, block: number): string {
  return `${relation}/${block}`;
}

/** The storage, with faults as told, and a log of pages read and written. */
function watched(storage: StorageManager, fault: Fault, log: string[]): StorageManager {
  const refuse = (): never => {
    throw new StorageError("58030", "could not: Input/output error", "test");
  };
  const view: StorageManager = Object.create(storage, {
    handle: { value: storage.handle },
    capabilities: { value: storage.capabilities },
  });
  const calls: Partial<StorageManager> = {
    readSync: (relation, fork, block, into) => {
      if (fault.reads) refuse();
      storage.readSync(relation, fork, block, into);
      log.push(`read ${pageAt(relation, block)}`);
    },
    writeSync: (relation, fork, block, from) => {
      if (fault.writes) refuse();
      storage.writeSync(relation, fork, block, from);
      log.push(`write ${pageAt(relation, block)}`);
    },
    unlinkSync: (relation, fork) => {
      if (fault.unlinks) refuse();
      storage.unlinkSync(relation, fork);
    },
  };
  return new Proxy(view, {
    get: (_target, key) => {
      const own: unknown = Reflect.get(calls, key);
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(storage, key);
      return typeof value === "function" ? value.bind(storage) : value;
    },
  });
}

function logged(log: string[]): LocalTraffic {
  return {
    hit: () => log.push("hit"),
    read: () => {},
    write: () => {},
    evict: () => log.push("evict"),
    extend: (blocks) => log.push(`extend ${blocks}`),
    dirty: () => log.push("dirty"),
  };
}
