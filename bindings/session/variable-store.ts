/**
 * Values of session variables in the session's own memory. Each variable has a record of two words
 * in a context of its own, which the tree of contexts shows; a text is a chunk beside it, and
 * belongs to exactly one word.
 *
 *            0          8          16
 *           ┌──────────┬──────────┐
 *  record   │  value   │  reset   │   GUCMemoryContext: for the life of the session
 *           └──────────┴──────────┘
 *           ┌──────────┬──────────┐
 *  saved    │  prior   │  masked  │   TopTransactionContext: of one nesting level
 *           └──────────┴──────────┘
 *
 * A word is a double: a number itself, 0 or 1, the place of a word in its list, or the address of a
 * text, 0 where there was never one.
 *
 * PostgreSQL: src/backend/utils/misc/guc.c, GUCMemoryContext
 */

import type { ChunkPtr } from "../abi/pointers.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { ParameterValue } from "../shared/parameter-texts.ts";
import type { Parameter } from "../shared/parameters.ts";

const WORD_BYTES = Float64Array.BYTES_PER_ELEMENT;
const RECORD_BYTES = 2 * WORD_BYTES;

/** Of what type a variable is. @internal */
export interface VariableKind {
  readonly vartype: Parameter["vartype"];
  /** What an enum can be, the hidden words last. */
  readonly words: readonly string[];
}

/** The type of a parameter, or of a variable that no parameter stands behind. @internal */
export function kindOf(parameter: Parameter | undefined): VariableKind {
  if (parameter === undefined) return { vartype: "string", words: [] };
  if (parameter.vartype !== "enum") return { vartype: parameter.vartype, words: [] };
  const { values, hidden = {} } = parameter;
  return { vartype: "enum", words: [...new Set([...values, ...Object.values(hidden)])] };
}

/** Values of variables in memory. @internal */
export class VariableStore {
  /** Where records and texts are. */
  readonly context: MemoryContext;
  readonly #memory: ProcessMemory;

  constructor(memory: ProcessMemory) {
    this.#memory = memory;
    this.context = memory.top.createChild("GUCMemoryContext");
  }

  /** Room for two words, both 0. */
  record(context: MemoryContext = this.context): ChunkPtr {
    return context.allocZero(RECORD_BYTES);
  }

  /** The first or second word of a record. */
  read(record: ChunkPtr, index: 0 | 1): number {
    return this.#memory.f64[record / WORD_BYTES + index] ?? 0;
  }

  /** Stores a word, whose text, if it has one, belongs to this record from now on. */
  write(record: ChunkPtr, index: 0 | 1, word: number): void {
    this.#memory.f64[record / WORD_BYTES + index] = word;
  }

  /** A value as a word; allocates for a text. */
  encode(kind: VariableKind, value: ParameterValue): number {
    if (kind.vartype === "string") return this.context.strdup(String(value));
    if (kind.vartype === "enum") return kind.words.indexOf(String(value));
    return Number(value);
  }

  /** The value that a word stands for. */
  decode(kind: VariableKind, word: number): ParameterValue {
    if (kind.vartype === "string") return word === 0 ? "" : this.#memory.readString(word);
    if (kind.vartype === "enum") return kind.words[word] ?? "";
    return kind.vartype === "bool" ? word !== 0 : word;
  }

  /** The same value as a word of its own. */
  copy(kind: VariableKind, word: number): number {
    if (kind.vartype !== "string" || word === 0) return word;
    return this.context.strdup(this.#memory.readString(word));
  }

  /** Frees the text of a word that nobody has any more. */
  discard(kind: VariableKind, word: number): void {
    if (kind.vartype === "string" && word !== 0) this.#memory.free(word as ChunkPtr);
  }
}
