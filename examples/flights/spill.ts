/**
 * What does not fit into the hash table: groups on their way to temporary files, split by the upper
 * bits of their hash, so that each part can be aggregated by itself later.
 *
 *        32        used bits        partition bits                0
 *       ┌──────────────────────────┬───────────────┬──────────────┐
 *  hash │ the same in all there is │ which part    │ not yet used │
 *       └──────────────────────────┴───────────────┴──────────────┘
 *
 *          0       4        8
 *         ┌───────┬────────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┐
 *  record │ hash  │ length │ entry, as in the hash table │  a row, or what others have of a group
 *         └───────┴────────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┘
 *
 * PostgreSQL: src/backend/executor/nodeAgg.c, HashAggSpill, HashAggBatch, hashagg_spill_tuple
 */

import type { MemoryContext, TemporaryFile } from "../../bindings/index.ts";

/** Words before the entry of a record. */
export const RECORD_HEADER_BYTES = 8;
const HASH_BITS = 32;

/** Makes a temporary file whose block comes from `context`. */
export type CreateFile = (context: MemoryContext) => TemporaryFile;

/** A part that waits for its turn. */
export interface Batch {
  readonly file: TemporaryFile;
  readonly records: number;
  /** Bits of the hash that are the same in all records. */
  readonly usedBits: number;
}

interface Partition {
  readonly file: TemporaryFile;
  records: number;
}

/** The parts that one pass over the input spills into. */
export class Spill {
  readonly #context: MemoryContext;
  readonly #createFile: CreateFile;
  readonly #usedBits: number;
  readonly #bits: number;
  readonly #partitions = new Map<number, Partition>();

  /** @param context - of the files' blocks */
  constructor(context: MemoryContext, createFile: CreateFile, usedBits: number, bits: number) {
    this.#context = context;
    this.#createFile = createFile;
    this.#usedBits = usedBits;
    this.#bits = bits;
  }

  /** Writes a record. @param at - its address; header and entry are filled */
  write(at: number, bytes: number, hash: number): void {
    const partition = this.#partitionOf(hash);
    partition.file.append(at, bytes);
    partition.records += 1;
  }

  /** Ends the writing. @returns the parts that have records */
  finish(): Batch[] {
    const usedBits = this.#usedBits + this.#bits;
    const partitions = [...this.#partitions.values()];
    this.#partitions.clear();
    for (const { file } of partitions) file.rewind();
    return partitions.map(({ file, records }) => ({ file, records, usedBits }));
  }

  #partitionOf(hash: number): Partition {
    const number = this.#bits === 0 ? 0 : (hash << this.#usedBits) >>> (HASH_BITS - this.#bits);
    let partition = this.#partitions.get(number);
    if (partition === undefined) {
      partition = { file: this.#createFile(this.#context), records: 0 };
      this.#partitions.set(number, partition);
    }
    return partition;
  }
}
