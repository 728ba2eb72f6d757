// A disk that can crash, as the calls on files that storage makes. It keeps what was not synced
// apart, so that a crash can drop it, reorder it and tear it (crash-file.ts); real disks do that,
// and a killed process does not show it, since the system's cache survives it.
//
// What is durable: a file's bytes and length as of its last sync, a directory's names as of the
// directory's last sync. A sync of a file says nothing of its name, nor the other way round. So a
// file renamed without having been synced may be there and empty.
//
// Operations are counted that change what a crash leaves: creations, writes, truncations, renames,
// removals and syncs. At the one that `crashAt` names the machine stops: what it would have changed
// counts as not synced, a sync as not done, and each later call throws too. Storage wraps what its
// calls throw; `isCrash` looks through that. Any number of images can be made of one crash, and
// `onOperation`, called where a crash would come, can make some of every crash of one run.
//
//   const disk = new CrashDisk();
//   const storage = disk.open();                         one more `open(storage.handle)` a thread
//   disk.crashAt(17);
//   … until isCrash(error) …
//   const after = disk.image(new Random(seed));          after.lost says what was lost
//   const again = after.open();

import { newSyncState } from "../../bindings/storage/descriptors.ts";
import type { FileCalls } from "../../bindings/storage/file-calls.ts";
import { FileStorage, type FilesHandle } from "../../bindings/storage/files.ts";
import type { Random } from "../support/random.ts";
import { type Kept, StoredFile } from "./crash-file.ts";

/** Thrown by every call from the crash on. */
export class Crash extends Error {
  constructor() {
    super("the machine has crashed");
    this.name = "Crash";
  }
}

/** Whether an error is a crash, or what storage made of one. */
export function isCrash(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof Crash) return true;
  return false;
}

/** A change of a directory that was not synced. */
type NameChange =
  | { readonly kind: "create"; readonly name: string; readonly file: StoredFile }
  | { readonly kind: "remove"; readonly name: string }
  | {
      readonly kind: "rename";
      readonly name: string;
      readonly to: string;
      readonly file: StoredFile;
    };

type Names = Map<string, StoredFile>;

interface Directory {
  names: Names;
  durable: Names;
  pending: NameChange[];
}

const ROOT = "/data";
const BASE = `${ROOT}/base`;
const keptChoices: readonly Kept[] = [0, 10, 50, 90, 100];

/** Files in memory that a crash treats as a disk would. */
export class CrashDisk implements FileCalls {
  /** Operations begun so far. */
  operations = 0;
  /** What the crash that this disk comes from took: a line for each change not there in full. */
  readonly lost: readonly string[];
  /** Called in each operation, where a crash in it would come. It may make images. */
  onOperation: (() => void) | undefined;
  readonly #directories = new Map<string, Directory>();
  readonly #open = new Map<number, StoredFile | Directory>();
  #descriptors = 2;
  #crashAt = Number.POSITIVE_INFINITY;
  #failSyncAt = Number.POSITIVE_INFINITY;
  #crashed = false;

  /** @param lost - see {@link lost}; for {@link image} */
  constructor(lost: readonly string[] = []) {
    this.lost = lost;
    for (const path of [ROOT, BASE]) {
      this.#directories.set(path, { names: new Map(), durable: new Map(), pending: [] });
    }
  }

  /** Whether the crash has come. */
  get crashed(): boolean {
    return this.#crashed;
  }

  /** Lets the machine crash in operation `n`, counted from 1 as {@link operations} counts. */
  crashAt(n: number): void {
    this.#crashAt = n;
  }

  /** Lets the machine crash now, between two operations. */
  crash(): void {
    this.#crashed = true;
  }

  /**
   * Lets the first sync from operation `n` on fail with EIO. As on Linux what it should have
   * written counts as clean afterwards: later syncs succeed, and do not make it durable.
   */
  failSyncAt(n: number): void {
    this.#failSyncAt = n;
  }

  /** Storage over this disk, as its first thread, or one more of those that share a handle. */
  open(handle: FilesHandle = crashHandle()): FileStorage {
    return new FileStorage(handle, this, true);
  }

  /** The disk after the crash, or after one that comes now. */
  image(random: Random): CrashDisk {
    const lost: string[] = [];
    const disk = new CrashDisk(lost);
    const kept = random.pick(keptChoices);
    const files = new Map<StoredFile, StoredFile>();
    for (const [path, directory] of this.#directories) {
      const after: Names = new Map();
      for (const [name, file] of survivingNames(directory, random, kept, lost)) {
        let survivor = files.get(file);
        if (survivor === undefined) {
          const own = random.below(3) === 0 ? random.pick(keptChoices) : kept;
          survivor = file.afterCrash(random, own, (what) => lost.push(`${name}: ${what}`));
          files.set(file, survivor);
        }
        survivor.names++;
        after.set(name, survivor);
      }
      disk.#directories.set(path, { names: after, durable: new Map(after), pending: [] });
    }
    return disk;
  }

  // ── Calls on files ─────────────────────────────────────────────────────────────────────────────

  openSync(path: string, flags: string): number {
    this.#running();
    const directory = this.#directories.get(path);
    if (directory !== undefined) return this.#descriptor(directory);
    const [parent, name] = this.#locate(path);
    const file = parent.names.get(name);
    if (file === undefined) {
      if (!flags.startsWith("w")) throw failure("ENOENT");
      const created = new StoredFile();
      this.#operation(() => {
        created.names = 1;
        parent.names.set(name, created);
        parent.pending.push({ kind: "create", name, file: created });
      });
      return this.#descriptor(created);
    }
    if (flags.includes("x")) throw failure("EEXIST");
    if (flags.startsWith("w") && file.size > 0) this.#operation(() => file.truncate(0));
    return this.#descriptor(file);
  }

  closeSync(descriptor: number): void {
    this.#running();
    if (!this.#open.delete(descriptor)) throw failure("EBADF");
  }

  readSync(
    descriptor: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): number {
    this.#running();
    return this.#file(descriptor).read(position, bytes.subarray(offset, offset + length));
  }

  readvSync(descriptor: number, pages: readonly Uint8Array[], position: number): number {
    this.#running();
    const file = this.#file(descriptor);
    let done = 0;
    for (const page of pages) done += file.read(position + done, page);
    return done;
  }

  readv(
    descriptor: number,
    pages: readonly Uint8Array[],
    position: number,
    done: (error: Error | null, got: number) => void,
  ): void {
    queueMicrotask(() => {
      try {
        done(null, this.readvSync(descriptor, pages, position));
      } catch (error) {
        done(error as Error, 0);
      }
    });
  }

  writeSync(
    descriptor: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): number {
    return this.writevSync(descriptor, [bytes.subarray(offset, offset + length)], position);
  }

  writevSync(descriptor: number, parts: readonly Uint8Array[], position: number): number {
    this.#running();
    const file = this.#file(descriptor);
    return this.#operation(() => file.write(position, parts));
  }

  ftruncateSync(descriptor: number, bytes: number): void {
    this.#running();
    const file = this.#file(descriptor);
    this.#operation(() => file.truncate(bytes));
  }

  fsyncSync(descriptor: number): void {
    this.#running();
    const target = this.#open.get(descriptor);
    if (target === undefined) throw failure("EBADF");
    this.#operation(() => undefined);
    if (this.operations >= this.#failSyncAt) {
      this.#failSyncAt = Number.POSITIVE_INFINITY;
      if (target instanceof StoredFile) target.dropPending();
      throw failure("EIO");
    }
    if (target instanceof StoredFile) {
      target.sync();
    } else {
      target.durable = new Map(target.names);
      target.pending = [];
    }
  }

  fstatSync(descriptor: number): { readonly size: number; readonly nlink: number } {
    this.#running();
    const file = this.#file(descriptor);
    return { size: file.size, nlink: file.names };
  }

  renameSync(from: string, to: string): void {
    this.#running();
    const [parent, name] = this.#locate(from);
    const [target, toName] = this.#locate(to);
    const file = parent.names.get(name);
    if (file === undefined) throw failure("ENOENT");
    if (parent !== target) throw failure("EXDEV");
    this.#operation(() => {
      const before = parent.names.get(toName);
      if (before !== undefined) before.names--;
      parent.names.delete(name);
      parent.names.set(toName, file);
      parent.pending.push({ kind: "rename", name, to: toName, file });
    });
  }

  unlinkSync(path: string): void {
    this.#running();
    const [parent, name] = this.#locate(path);
    const file = parent.names.get(name);
    if (file === undefined) throw failure("ENOENT");
    this.#operation(() => {
      file.names--;
      parent.names.delete(name);
      parent.pending.push({ kind: "remove", name });
    });
  }

  readdirSync(path: string): string[] {
    this.#running();
    const directory = this.#directories.get(path);
    if (directory === undefined) throw failure("ENOENT");
    return [...directory.names.keys()];
  }

  // ── How it is done ─────────────────────────────────────────────────────────────────────────────

  #running(): void {
    if (this.#crashed) throw new Crash();
  }

  /** Makes a change, and crashes if its turn has come: then it was made, and is not durable. */
  #operation<T>(change: () => T): T {
    this.operations++;
    const result = change();
    this.onOperation?.();
    if (this.operations >= this.#crashAt) this.#crashed = true;
    this.#running();
    return result;
  }

  #descriptor(of: StoredFile | Directory): number {
    this.#open.set(++this.#descriptors, of);
    return this.#descriptors;
  }

  #file(descriptor: number): StoredFile {
    const file = this.#open.get(descriptor);
    if (file === undefined) throw failure("EBADF");
    if (file instanceof StoredFile) return file;
    throw failure("EISDIR");
  }

  #locate(path: string): [Directory, string] {
    const slash = path.lastIndexOf("/");
    const directory = this.#directories.get(path.slice(0, slash));
    if (directory === undefined) throw failure("ENOENT");
    return [directory, path.slice(slash + 1)];
  }
}

/** What a process that begins makes; segments so small that a few pages have several. */
export function crashHandle(options: Partial<FilesHandle> = {}): FilesHandle {
  const state = newSyncState();
  const sizes = { segmentBlocks: 4, maxOpenFiles: 16 };
  return { kind: "node-fs", module: "", directory: ROOT, ...sizes, state, ...options };
}

/** The durable names and any subset of what was done to them since, in its order. */
function survivingNames(
  { durable, pending }: Directory,
  random: Random,
  kept: Kept,
  lost: string[],
): Names {
  const names: Names = new Map(durable);
  for (const change of pending) {
    if (random.below(100) >= kept) {
      lost.push(
        `${change.name}: ${change.kind}${change.kind === "rename" ? ` to ${change.to}` : ""}`,
      );
    } else if (change.kind === "create") {
      names.set(change.name, change.file);
    } else {
      names.delete(change.name);
      if (change.kind === "rename") names.set(change.to, change.file);
    }
  }
  return names;
}

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: crash disk`), { code });
}
