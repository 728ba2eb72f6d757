// Proves that text comes out as it went in, at every length around the limits of the fast paths,
// and that chunks for it are as large as PostgreSQL's.

import { describe, expect, it } from "vitest";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import { builds, openMemory } from "../support/process.ts";
import { Random } from "../support/random.ts";

const TEXTS = [
  "",
  "a",
  "ascii only",
  "Größe",
  "日本語",
  "🐘 elephant",
  "\ufeffmark",
  "a\u007fb\u0001",
];

describe.each(builds)("text (%s)", (_, checked) => {
  const { memory } = openMemory(checked);
  const context = memory.top.createChild("text");
  const copied = (chunk: ChunkPtr, bytes: number): number[] => [...memory.bytes(chunk, bytes)];

  it.each(TEXTS)("%j comes out as it went in", (text) => {
    expect(memory.readString(context.strdup(text))).toBe(text);
  });

  it("is UTF-8 with a NUL behind it, whatever lay there before", () => {
    for (const text of TEXTS) {
      const bytes = new TextEncoder().encode(text);
      const dirty = context.alloc(bytes.length + 1);
      memory.bytes(dirty, bytes.length + 1).fill(0xff);
      memory.free(dirty);
      const chunk = context.strdup(text);
      expect(copied(chunk, bytes.length + 1)).toEqual([...bytes, 0]);
      memory.free(chunk);
    }
  });

  it("takes a byte more than it has", () => {
    const lengths = [0, 7, 8, 15, 16, 17, 63, 64, 5_000, 20_000];
    for (const length of lengths) {
      const chunk = context.strdup("x".repeat(length));
      const plain = context.alloc(length + 1);
      expect(memory.chunkSpace(chunk)).toBe(memory.chunkSpace(plain));
    }
  });

  it("survives every length and mixture of characters", () => {
    const random = new Random(7);
    const units = ["a", "z", "ß", "€", "𝄞", "\ud800", "\udfff"];
    for (let round = 0; round < 2_000; round += 1) {
      const length = random.below(round % 50 === 0 ? 6_000 : 40);
      let text = "";
      for (let index = 0; index < length; index += 1) {
        text += units[random.below(random.below(2) === 0 ? 2 : units.length)];
      }
      const chunk = context.strdup(text);
      expect(memory.readString(chunk)).toBe(wellFormed(text));
      memory.free(chunk);
    }
  });

  it("has U+FFFD for a lone surrogate", () => {
    expect(memory.readString(context.strdup("a\ud800b"))).toBe("a\ufffdb");
    expect(memory.readString(context.strdup("\udc00"))).toBe("\ufffd");
  });

  it("cannot hold U+0000", () => {
    const before = context.stats().usedBytes;
    for (const text of ["\0", "a\0b", `${"x".repeat(30)}\0`]) {
      expect(() => context.strdup(text)).toThrow(RangeError);
    }
    expect(context.stats().usedBytes).toBe(before);
    const notText = context.strdup.bind(context) as (text: unknown) => unknown;
    expect(() => notText(7)).toThrow(TypeError);
  });

  it("is cut before a character that does not fit", () => {
    const cut = (text: string, bytes: number): string =>
      memory.readString(context.strndup(text, bytes));
    expect(cut("abc", 2)).toBe("ab");
    expect(cut("abc", 9)).toBe("abc");
    expect(cut("a€b", 3)).toBe("a");
    expect(cut("a€b", 4)).toBe("a€");
    expect(cut("🐘", 3)).toBe("");
    expect(cut("abc", 0)).toBe("");
    expect(cut("€".repeat(9_000), 10_000)).toBe("€".repeat(3_333));
    expect(() => context.strndup("a", -1)).toThrow(RangeError);
  });

  it("loses the line feeds at its end, and no others", () => {
    const chomped = (text: string): string => memory.readString(context.strchomp(text));
    expect(["a\nb\n\n", "\n", "", "a\r\n", "plain"].map(chomped)).toEqual([
      "a\nb",
      "",
      "",
      "a\r",
      "plain",
    ]);
  });

  it("is read to the NUL or as far as is said", () => {
    const chunk = context.strdup("some thirty bytes of plain text");
    expect(memory.readString(chunk, 4)).toBe("some");
    expect(memory.readString(chunk, 11)).toBe("some thirty");
    expect(memory.readString(chunk, 1_000)).toBe("some thirty bytes of plain text");
    expect(memory.readString(chunk, 0)).toBe("");
    const short = context.strdup("ab");
    expect(memory.readString(short, 8)).toBe("ab");
  });

  it("is read to the end of the memory if there is no NUL", () => {
    const { u8 } = memory;
    const saved = u8.slice(-20);
    u8.fill(0x61, u8.length - 20);
    expect(memory.readString(u8.length - 20)).toBe("a".repeat(20));
    expect(memory.readString(u8.length - 3)).toBe("aaa");
    u8.set(saved, u8.length - 20);
  });

  it("is not read from outside the memory", () => {
    for (const wrong of [0, -1, memory.u8.length + 1, 2 ** 40]) {
      expect(() => memory.readString(wrong)).toThrow(RangeError);
    }
    expect(() => memory.readString(1.5)).toThrow(TypeError);
  });

  it("is written where there is room, or not at all", () => {
    const chunk = context.allocZero(16);
    expect(memory.writeString(chunk, "Größe", 8)).toBe(7);
    expect(memory.readString(chunk)).toBe("Größe");
    expect(() => memory.writeString(chunk, "Größen", 8)).toThrow(/needs 9 bytes .* there are 8/);
    expect(memory.readString(chunk)).toBe("Größe");
  });
});

/** With U+FFFD for each lone surrogate. */
function wellFormed(text: string): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));
}
