// Proves that rows on catalog pages are what was written, whatever their sizes and order, that a
// checkpoint keeps them together with the pages they describe, and that a catalog over them is
// right.

import { describe, expect, it } from "vitest";
import { CatalogRelation } from "../../bindings/index.ts";
import { openPool } from "../support/pool.ts";
import { Random } from "../support/random.ts";
import { builds } from "../support/region.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (row: Uint8Array | undefined): string | undefined =>
  row === undefined ? undefined : new TextDecoder().decode(row);

describe.each(builds)("a catalog relation, %s", (_, checked) => {
  async function open() {
    const pool = await openPool({ checked, files: false });
    const backend = pool.attach();
    const rows = new CatalogRelation(backend.buffers, backend.createRelationSync("rows"));
    return { pool, backend, rows };
  }

  it("gives back what was written last", async () => {
    const { rows } = await open();
    rows.writeSync(["a", 1], bytes("first"));
    rows.writeSync(["a", 2], bytes("second"));
    rows.writeSync(["a", 1], bytes("third"));
    expect(text(rows.readSync("a", 1))).toBe("third");
    expect(text(rows.readSync("a", 2))).toBe("second");
    expect(rows.readSync("a", 3)).toBeUndefined();
    expect(rows.deleteSync("a", 2)).toBe(true);
    expect(rows.deleteSync("a", 2)).toBe(false);
    expect(rows.rowsSync().map(({ keys }) => keys)).toEqual([["a", 1]]);
    expect(rows.relation.blocksSync()).toBe(1);
  });

  it("refuses a row that no page has room for", async () => {
    const { rows } = await open();
    expect(() => rows.writeSync(["a"], new Uint8Array(8_150))).toThrow("row is too big");
    rows.writeSync(["a"], new Uint8Array(8_100));
    expect(rows.readSync("a")).toHaveLength(8_100);
  });

  it("counts the higher version where a writer has stopped between two pages", async () => {
    const { backend, rows } = await open();
    rows.writeSync(["a"], bytes("old".padEnd(5_000)));
    rows.writeSync(["b"], bytes("other".padEnd(2_000)));
    const before = backend.buffers.readSync(rows.relation, 0);
    const old = before.bytes.slice();
    before[Symbol.dispose]();
    rows.writeSync(["a"], bytes("new".padEnd(7_000)));
    expect(rows.relation.blocksSync()).toBe(2);
    backend.buffers.changeSync(rows.relation, 0, (page) => page.set(old));
    expect(text(rows.readSync("a"))?.trim()).toBe("new");
    expect(rows.rowsSync()).toHaveLength(2);
    rows.writeSync(["a"], bytes("newer"));
    expect(rows.rowsSync().filter(({ keys }) => keys[0] === "a")).toHaveLength(1);
    expect(text(rows.readSync("a"))).toBe("newer");
  });

  it("uses the room of what has moved to another page", async () => {
    const { rows } = await open();
    rows.writeSync(["a"], new Uint8Array(5_000));
    rows.writeSync(["b"], new Uint8Array(2_000));
    rows.writeSync(["a"], new Uint8Array(7_000));
    rows.writeSync(["c"], new Uint8Array(5_000));
    expect(rows.relation.blocksSync()).toBe(2);
  });

  it.each([1, 2])("agrees with a Map over a random history, seed %i", async (seed) => {
    const { rows } = await open();
    const random = new Random(seed);
    const model = new Map<string, string>();
    for (let step = 0; step < 300; step += 1) {
      const key = `k${random.below(30)}`;
      if (random.below(4) === 0) expect(rows.deleteSync(key)).toBe(model.delete(key));
      else {
        const row = `${step}`.padEnd(1 + random.below(random.below(5) === 0 ? 4_000 : 200));
        rows.writeSync([key], bytes(row));
        model.set(key, row);
      }
      expect(text(rows.readSync(key))).toBe(model.get(key));
    }
    const found = rows.rowsSync().map(({ keys, row }) => [String(keys[0]), text(row)] as const);
    expect(new Map(found)).toEqual(model);
    expect(rows.relation.blocksSync()).toBeLessThan(20);
  });

  it("is the truth of a catalog: found once, read once, and anew when it changes", async () => {
    const { pool, backend, rows } = await open();
    const other = pool.attach();
    const define = (relation: CatalogRelation) => ({
      keys: ["string"] as const,
      loadSync: (name: string | number) => relation.readSync(name),
      decode: (row: Uint8Array) => JSON.parse(text(row) ?? "") as { columns: number },
    });
    const theirs = new CatalogRelation(other.buffers, other.openRelationSync("rows"));
    const tables = backend.catalog.register("tables", define(rows));
    const same = other.catalog.register("tables", define(theirs));
    const set = (columns: number): void =>
      tables.changeSync(["flights"], () =>
        rows.writeSync(["flights"], bytes(JSON.stringify({ columns }))),
      );
    set(5);
    expect(same.findSync("flights")?.value).toEqual({ columns: 5 });
    set(6);
    other.locks.lockRelationSync(rows.relation.number, "AccessShareLock");
    expect(same.findSync("flights")?.value).toEqual({ columns: 6 });
    expect(same.findSync("trains")).toBeUndefined();
  });
});
