// Relations by name, and what a data directory remembers: names never become paths, a rename is a
// commit, and storage that lost something is refused before a page is read.

import {
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Backend, initPage, SharedMemory } from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { changeControl, newestControl } from "../support/control.ts";
import { built, type IoMethod, ioMethods, withIoMethod } from "../support/io-methods.ts";

const settings = { shared_buffers: 16, max_connections: 2 };

let method: IoMethod = "sync";

/** A backend in this thread over a storage; gone, with its region, when `work` ends. */
async function withBackend<Result>(
  storage: StorageManager,
  work: (backend: Backend) => Result,
  checked = true,
): Promise<Result> {
  const options = withIoMethod(method, { settings, storage: built(storage), checked });
  const shared = await SharedMemory.create(options);
  try {
    // The owner's own manager serves: a .ts file cannot be loaded by its URL on Node 20.
    const backend = Backend.attachSync(shared.handle, { storage: () => nonClosing(storage) });
    try {
      return work(backend);
    } finally {
      backend.detach();
    }
  } finally {
    await shared.close();
  }
}

function nonClosing(storage: StorageManager): StorageManager {
  const shared: StorageManager = Object.create(storage);
  return new Proxy(shared, {
    get: (_target, key) => {
      if (key === "closeSync") return () => {};
      const value: unknown = Reflect.get(storage, key);
      return typeof value === "function" ? value.bind(storage) : value;
    },
  });
}

function fill(backend: Backend, name: string, blocks: number): void {
  const relation = backend.createRelationSync(name);
  const first = backend.buffers.extendSync(relation, blocks);
  for (let block = first; block < blocks; block += 1) {
    backend.buffers.changeSync(relation, block, (bytes) => {
      initPage(bytes);
      bytes[5000] = block;
    });
  }
}

describe.each(ioMethods)("io_method %s", (current) => {
  beforeEach(() => {
    method = current;
  });

  describe("names", () => {
    it("any name is a name, and none becomes a path", async () => {
      const names = ["a/../../b", "__proto__", "constructor", "Übergröße ✈", "a\nb", "."];
      await withBackend(memoryStorage(), (backend) => {
        for (const name of names) backend.createRelationSync(name);
        expect(new Set(backend.relationNamesSync())).toEqual(new Set(names));
        const numbers = names.map((name) => backend.openRelationSync(name).number);
        expect(new Set(numbers).size).toBe(names.length);
      });
    });

    it("an empty or over-long name, and one that is no string, are refused", async () => {
      await withBackend(memoryStorage(), (backend) => {
        expect(() => backend.createRelationSync("")).toThrow(RangeError);
        expect(() => backend.createRelationSync("é".repeat(32))).toThrow(RangeError);
        expect(() => backend.createRelationSync(7 as unknown as string)).toThrow(TypeError);
      });
    });

    it("a missing relation is 42P01 and an existing one 42P07, as in PostgreSQL", async () => {
      await withBackend(memoryStorage(), (backend) => {
        backend.createRelationSync("t");
        const code = (work: () => unknown): unknown => {
          try {
            return work();
          } catch (error) {
            return (error as { code: string }).code;
          }
        };
        expect(code(() => backend.openRelationSync("u"))).toBe("42P01");
        expect(code(() => backend.openRelationSync("toString"))).toBe("42P01");
        expect(code(() => backend.createRelationSync("t"))).toBe("42P07");
        expect(code(() => backend.renameRelationSync("u", "v"))).toBe("42P01");
        backend.createRelationSync("u");
        expect(code(() => backend.renameRelationSync("u", "t"))).toBe("42P07");
      });
    });

    it("a renamed relation keeps its pages, and its old name is free", async () => {
      await withBackend(memoryStorage(), (backend) => {
        fill(backend, "t.loading", 40);
        backend.renameRelationSync("t.loading", "t");
        const relation = backend.openRelationSync("t");
        for (let block = 0; block < 40; block += 1) {
          using page = backend.buffers.readSync(relation, block);
          expect(page.bytes[5000]).toBe(block);
        }
        backend.createRelationSync("t.loading");
      });
    });

    it("a dropped relation is gone with its pages, and its number is not used again", async () => {
      await withBackend(memoryStorage(), (backend) => {
        fill(backend, "t", 8);
        const { number } = backend.openRelationSync("t");
        backend.dropRelationSync("t");
        expect(() => backend.openRelationSync("t")).toThrow(/does not exist/);
        const again = backend.createRelationSync("t");
        expect(again.number).toBeGreaterThan(number);
        expect(again.blocksSync()).toBe(0);
      });
    });

    it("a relation with a pinned page cannot be dropped", async () => {
      await withBackend(memoryStorage(), (backend) => {
        fill(backend, "t", 2);
        const page = backend.buffers.readSync(backend.openRelationSync("t"), 0);
        expect(() => backend.dropRelationSync("t")).toThrow(/is being used/);
        page[Symbol.dispose]();
        expect(backend.openRelationSync("t").blocksSync()).toBe(2);
        backend.dropRelationSync("t");
      });
    });
  });

  describe("a data directory", () => {
    let directory = "";
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "palloc-relations-"));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    async function filled(): Promise<string> {
      return withBackend(nodeFiles(directory), (backend) => {
        fill(backend, "t", 40);
        expect(backend.checkpointSync().buffersWritten).toBeGreaterThan(0);
        return join(directory, "base", String(backend.openRelationSync("t").number));
      });
    }

    it("what a checkpoint has written is there in the next region", async () => {
      await filled();
      await withBackend(nodeFiles(directory), (backend) => {
        const relation = backend.openRelationSync("t");
        expect(relation.blocksSync()).toBe(40);
        using page = backend.buffers.readSync(relation, 39);
        expect(page.bytes[5000]).toBe(39);
      });
    });

    it("a flipped byte is an error that names relation and block, and harms no other page", async () => {
      const file = await filled();
      const bytes = readFileSync(file);
      bytes[7 * 8192 + 3000] = (bytes[7 * 8192 + 3000] ?? 0) ^ 1;
      writeFileSync(file, bytes);
      await withBackend(nodeFiles(directory), (backend) => {
        const relation = backend.openRelationSync("t");
        for (const _again of [1, 2]) {
          expect(() => backend.buffers.readSync(relation, 7)).toThrowError(
            expect.objectContaining({
              code: "XX001",
              message: 'invalid page in block 7 of relation "t"',
              relation: "t",
              block: 7,
              detail: expect.stringMatching(/calculated checksum \d+ but expected \d+$/),
            }),
          );
        }
        using page = backend.buffers.readSync(relation, 8);
        expect(page.bytes[5000]).toBe(8);
        expect(backend.buffers.pinnedBuffers()).toBe(1);
      });
    });

    it.each([
      [
        "shorter than at its last checkpoint",
        (file: string) => truncateSync(file, 39 * 8192),
        /39/,
      ],
      ["gone", (file: string) => unlinkSync(file), /"t" has no file/],
    ] as const)("a file that is %s is refused at start", async (_how, damage, message) => {
      damage(await filled());
      await expect(withBackend(nodeFiles(directory), () => {})).rejects.toMatchObject({
        code: "XX001",
        message: expect.stringMatching(message),
      });
    });

    it("a damaged control document, or one of another format, is refused and left alone", async () => {
      await filled();
      const file = newestControl(directory);
      const text = readFileSync(file, "utf8");
      for (const broken of [
        text.replace('"checkpoint": 2', '"checkpoint": 3'),
        text.slice(0, -20),
        "",
      ]) {
        writeFileSync(file, broken);
        const start = withBackend(nodeFiles(directory), () => {});
        await expect(start).rejects.toMatchObject({ code: "XX001" });
        expect(readFileSync(file, "utf8")).toBe(broken);
      }
      writeFileSync(file, text);
      changeControl(directory, (control) => control.replace(/"version": \d+/, '"version": 99'));
      const before = readFileSync(newestControl(directory));
      const start = withBackend(nodeFiles(directory), () => {});
      await expect(start).rejects.toMatchObject({ code: "55000" });
      expect(readFileSync(newestControl(directory))).toEqual(before);
    });

    it("files that no relation names are removed at start", async () => {
      await filled();
      const orphan = join(directory, "base", "20000");
      writeFileSync(orphan, new Uint8Array(8192));
      await withBackend(nodeFiles(directory), () => {});
      expect(() => readFileSync(orphan)).toThrow(/ENOENT/);
    });
  });
});
