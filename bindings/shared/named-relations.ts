/**
 * Relations by name, as a backend sees them: its temporary ones first, then those that all see.
 *
 * PostgreSQL: src/backend/catalog/namespace.c, RelnameGetRelid
 */

import type { StorageManager } from "../storage/manager.ts";
import type { CreateOptions } from "./backend-options.ts";
import type { LocalBuffers } from "./local-buffers.ts";
import { checkName, Relation, type RelationMap } from "./relation.ts";
import { checkShorter, type RelationPages } from "./relation-pages.ts";
import type { Routine } from "./routine.ts";
import { isTemporary } from "./temp-numbers.ts";
import type { TempRelations } from "./temp-relations.ts";

/** Where relations are kept. @internal */
export interface NamedRelationsGround {
  readonly storage: StorageManager;
  readonly relations: RelationMap;
  readonly temporary: TempRelations;
  readonly pages: RelationPages;
  readonly local: LocalBuffers;
}

/** What can be done to relations by their names. @internal */
export class NamedRelations {
  readonly #ground: NamedRelationsGround;

  constructor(ground: NamedRelationsGround) {
    this.#ground = ground;
  }

  *create(name: string, { temporary = false }: CreateOptions): Routine<Relation> {
    const ground = this.#ground;
    if (!temporary) return yield* ground.relations.create(name);
    checkName(name);
    return new Relation(name, ground.temporary.create(name), ground.storage);
  }

  open(name: string): Relation {
    const { relations, temporary, storage } = this.#ground;
    const number = temporary.open(name);
    return number === undefined ? relations.open(name) : new Relation(name, number, storage);
  }

  names(): string[] {
    const { relations, temporary } = this.#ground;
    return [...new Set([...temporary.names(), ...relations.names()])];
  }

  *rename(from: string, to: string): Routine<void> {
    checkName(to);
    const { relations, temporary } = this.#ground;
    if (!temporary.rename(from, to)) yield* relations.rename(from, to);
  }

  *drop(name: string): Routine<void> {
    const { temporary, pages } = this.#ground;
    if (!temporary.drop(name)) yield* pages.drop(name);
  }

  *truncate(relation: Relation, blocks: number): Routine<void> {
    const { pages, local, storage } = this.#ground;
    if (!isTemporary(relation.id)) return yield* pages.truncate(relation, blocks);
    checkShorter(relation.name, storage.blocksSync(relation.number, 0), blocks);
    local.dropRelation(relation.id, blocks);
    storage.truncateSync(relation.number, 0, blocks);
  }
}
