// What a data directory should be: relations by name, each page's version. The driver applies every
// operation here at the moment it takes effect, and keeps a copy at each cut of a checkpoint.

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { readRelations } from "../../bindings/shared/control.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { CHECKSUM_AT, misprint } from "./pages.ts";

/** A relation of the model. */
export interface ModelRelation {
  readonly uid: number;
  /** Version of each page. */
  readonly pages: number[];
}

/** All of them at one moment. */
export type State = ReadonlyMap<string, ModelRelation>;

/** A copy that later operations do not change. */
export function copyOf(state: State): Map<string, ModelRelation> {
  return new Map([...state].map(([name, { uid, pages }]) => [name, { uid, pages: [...pages] }]));
}

const page = new Uint8Array(BLOCK_BYTES);

/** What the checksum of a page should be, by the pool that is to read it. */
export type SealOf = (page: Uint8Array, block: number) => number;

/** How storage differs from a state, in one line, or undefined: names, lengths, every page. */
export function difference(
  storage: StorageManager,
  state: State,
  sealOf: SealOf,
): string | undefined {
  const found = readRelations(storage)?.relations ?? {};
  const [names, wanted] = [Object.keys(found).sort(), [...state.keys()].sort()];
  if (names.join() !== wanted.join()) return `relations [${names}] instead of [${wanted}]`;
  for (const [name, { uid, pages }] of state) {
    const number = found[name]?.number ?? 0;
    const blocks = storage.blocksSync(number, 0);
    if (blocks !== pages.length) return `${name} has ${blocks} blocks instead of ${pages.length}`;
    for (const [block, version] of pages.entries()) {
      storage.readSync(number, 0, block, page);
      const at = `${name} (${number}), block ${block}`;
      const wrong = misprint(page, { uid, block, version });
      if (wrong !== undefined) return `${at}: ${wrong}`;
      const seal = (page[CHECKSUM_AT] ?? 0) | ((page[CHECKSUM_AT + 1] ?? 0) << 8);
      if (seal !== sealOf(page, block)) return `${at}: checksum ${seal}`;
    }
  }
  const known = Object.values(found).map(({ number }) => number);
  const strays = storage.relationsSync().filter((number) => !known.includes(number));
  return strays.length > 0 ? `files of relations ${strays} are left` : undefined;
}
