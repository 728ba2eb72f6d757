/**
 * Keys of catalog entries: up to four numbers or texts, in two forms. Wasm gets whole words,
 * numbers as one word each, texts as their length in bytes and the bytes; private entries are found
 * by a number or a string of the engine's.
 */

import { CATALOG_KEY_BYTES, CATALOG_KEYS } from "../../assembly/common/cache-constants.ts";

/** One column of a key: a text, or an integer of 32 bits, with a sign or without. */
export type CatalogKey = number | string;

const WORD_BYTES = 4;
const encoder = new TextEncoder();

/** What finds an entry in a Map. @internal */
export type MapKey = number | string;

/** Writes keys where wasm finds them. @internal */
export class KeyWriter {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  /** @param address - of CATALOG_KEY_BYTES in the region's memory */
  constructor(buffer: SharedArrayBuffer, address: number) {
    this.#words = new Int32Array(buffer, address, CATALOG_KEY_BYTES / WORD_BYTES);
    this.#bytes = new Uint8Array(buffer, address, CATALOG_KEY_BYTES);
  }

  /**
   * Writes keys. @returns their bytes
   *
   * @throws RangeError for keys of more than 512 bytes in all
   */
  write(keys: readonly CatalogKey[]): number {
    let at = 0;
    for (const key of keys) {
      at = typeof key === "number" ? this.#number(at, key) : this.#text(at, key);
    }
    return at;
  }

  #number(at: number, key: number): number {
    this.#words[at / WORD_BYTES] = key | 0;
    return at + WORD_BYTES;
  }

  #text(at: number, key: string): number {
    const text = encoder.encode(key);
    const end = at + WORD_BYTES + Math.ceil(text.length / WORD_BYTES) * WORD_BYTES;
    // Room for a number after it is kept for each key that may follow.
    if (end > CATALOG_KEY_BYTES - CATALOG_KEYS * WORD_BYTES) {
      throw new RangeError(`the keys of a catalog entry have at most ${CATALOG_KEY_BYTES} bytes`);
    }
    this.#words[at / WORD_BYTES] = text.length;
    this.#words[end / WORD_BYTES - 1] = 0;
    this.#bytes.set(text, at + WORD_BYTES);
    return end;
  }
}

/**
 * What finds a private entry.
 *
 * @throws TypeError for keys that are not of the kinds
 * @internal
 */
export function mapKeyOf(
  kinds: readonly ("number" | "string")[],
  keys: readonly CatalogKey[],
): MapKey {
  const [first] = keys;
  if (kinds.length === 1 && keys.length === 1) {
    if (typeof first === kinds[0] && (typeof first === "string" || isWord(first))) return first;
    throw wrongKeys(kinds, keys);
  }
  if (keys.length !== kinds.length) throw wrongKeys(kinds, keys);
  let text = "";
  for (const [index, key] of keys.entries()) {
    const right = typeof key === kinds[index] && (typeof key === "string" || isWord(key));
    if (!right) throw wrongKeys(kinds, keys);
    text += typeof key === "string" ? `${key.length}:${key}` : `${key},`;
  }
  return text;
}

/** Numbers that are one word; the same word with and without a sign is the same key. */
function isWord(key: CatalogKey | undefined): key is number {
  return typeof key === "number" && ((key | 0) === key || key >>> 0 === key);
}

function wrongKeys(kinds: readonly string[], keys: readonly CatalogKey[]): TypeError {
  return new TypeError(
    `keys of this catalog are (${kinds.join(", ")}), numbers being integers of 32 bits, ` +
      `not (${keys.map((key) => JSON.stringify(key)).join(", ")})`,
  );
}
