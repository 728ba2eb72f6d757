// Proves that README.md claims nothing that does not run. Every fenced block is one of these:
//
//   js, ts   a program. A first line `// name.mjs` gives it a file of its own; the others are
//            programs by themselves. All files of one section stand in one folder, with palloc
//            installed. A `text` block right behind a program is what it prints, to the letter.
//   sh       commands: an installation, or a script that package.json has
//   text     not behind a program: a drawing, or figures with their source
//
// Programs are run with the Node that runs this test; TypeScript is checked and compiled first.

import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { everything, HEADLINES, headlines, withTable } from "../bench/markdown.ts";
import type { Report } from "../bench/report.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const readme = readFileSync(join(root, "README.md"), "utf8");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
};

interface Block {
  readonly kind: string;
  readonly text: string;
  /** Line of the opening fence in README.md. */
  readonly line: number;
  /** Heading above it. */
  readonly section: string;
  /** True when nothing but an empty line stands between this and the block before. */
  readonly follows: boolean;
}

/** The fenced blocks of a Markdown text, in order. */
function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  const lines = markdown.split("\n");
  let section = "";
  let follows = false;
  for (let index = 0; index < lines.length; index++) {
    const heading = /^#+ (.*)/.exec(lines[index] ?? "")?.[1];
    const kind = /^```(\w*)$/.exec(lines[index] ?? "")?.[1];
    if (kind === undefined) {
      if (heading !== undefined) section = heading;
      if (lines[index] !== "") follows = false;
      continue;
    }
    const end = lines.indexOf("```", index + 1);
    if (end < 0) throw new Error(`the block at line ${index + 1} has no end`);
    const text = `${lines.slice(index + 1, end).join("\n")}\n`;
    blocks.push({ kind, text, line: index + 1, section, follows });
    follows = true;
    index = end;
  }
  return blocks;
}

const blocks = blocksOf(readme);
const isProgram = ({ kind }: Block): boolean => kind === "js" || kind === "ts";

/** File name of a program: its first line's, or one made from its place. */
function fileOf(block: Block): string {
  const name = /^\/\/ ([\w-]+\.[mc]?[jt]s)$/m.exec(block.text.split("\n")[0] ?? "")?.[1];
  return name ?? `line-${block.line}.${block.kind === "ts" ? "mts" : "mjs"}`;
}

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder with palloc installed and the programs of one section. */
function folderFor(section: string): string {
  const folder = mkdtempSync(join(tmpdir(), "palloc-readme-"));
  folders.push(folder);
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules/palloc"));
  for (const block of blocks.filter((other) => other.section === section && isProgram(other))) {
    writeFileSync(join(folder, fileOf(block)), block.text);
  }
  return folder;
}

function run(words: readonly string[], folder: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, words, {
    cwd: folder,
    encoding: "utf8",
  });
  if (status !== 0 || stderr !== "") {
    throw new Error(`${words.join(" ")} ended with ${status}:\n${stdout}${stderr}`);
  }
  return stdout;
}

/** Checks a TypeScript program and returns the name of what it was compiled to. */
function compile(file: string, folder: string): string {
  const compilerOptions = {
    module: "NodeNext",
    target: "ES2022",
    lib: ["ES2023", "ESNext.Disposable"],
    strict: true,
    skipLibCheck: false,
    types: ["node"],
    typeRoots: [join(root, "node_modules/@types")],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [file] }));
  run([join(root, "node_modules/typescript/bin/tsc"), "-p", folder], folder);
  return join(dirname(file), file.replace(/ts$/, "js"));
}

/** Names of the members of a class and of those it extends, from the published declarations. */
function declarationOf(name: string): Set<string> {
  const folder = join(root, "dist/bindings");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const shape = new RegExp(
    `^export declare (?:abstract )?class ${name}\\b(?: extends (\\w+))?[^{]* \\{\\n([\\s\\S]*?)^\\}`,
    "m",
  );
  for (const file of files.filter((path) => path.endsWith(".d.ts"))) {
    const [, base, body] = shape.exec(readFileSync(join(folder, file), "utf8")) ?? [];
    if (body === undefined) continue;
    const own = body.matchAll(/^ {4}(?:(?:static|readonly|get|set|abstract) )*(\w+)/gm);
    const inherited = base === undefined || base === "Error" ? [] : declarationOf(base);
    return new Set([...inherited, ...[...own].map(([, member = ""]) => member)]);
  }
  throw new Error(`no class ${name} is published`);
}

const programs = blocks.flatMap((block, index) => {
  const next = blocks[index + 1];
  const output = next?.kind === "text" && next.follows ? next.text : undefined;
  return isProgram(block) ? [{ block, output, line: block.line, section: block.section }] : [];
});

describe("README.md", () => {
  it("opens with two programs and what they print", () => {
    expect(programs.length).toBeGreaterThan(1);
    expect(programs.slice(0, 2).every(({ output }) => output !== undefined)).toBe(true);
  });

  it.each(programs.filter(({ output }) => output !== undefined))(
    "prints what it says at line $line, $section",
    ({ block, output }) => {
      const folder = folderFor(block.section);
      const file = block.kind === "ts" ? compile(fileOf(block), folder) : fileOf(block);
      expect(run([file], folder)).toBe(output);
    },
  );

  it("shows no program that is neither run nor used by one that is", () => {
    const loose = programs.filter(({ block, output, section }) => {
      const name = fileOf(block);
      const used = programs.some(
        (other) => other.section === section && other.block.text.includes(`./${name}`),
      );
      return output === undefined && !used;
    });
    expect(loose.map(({ line }) => `line ${line}`)).toEqual([]);
  });

  it("gives only commands that exist", () => {
    const commands = blocks
      .filter(({ kind }) => kind === "sh")
      .flatMap(({ text }) => text.trim().split("\n"))
      .flatMap((line) => line.replace(/\s+#.*$/, "").split(" && "));
    expect(commands.length).toBeGreaterThan(0);
    const strange = commands.filter((command) => {
      const [, script, plain] = /^npm (?:run ([\w:]+)|(start|test))( -- .*)?$/.exec(command) ?? [];
      const name = script ?? plain;
      return name === undefined
        ? !/^(npm (ci|install palloc)|git clone .*|bash \.ci\/run)$/.test(command)
        : manifest.scripts[name] === undefined;
    });
    expect(strange).toEqual([]);
  });

  it("has no block of another kind", () => {
    const known = ["js", "ts", "sh", "text"];
    expect(blocks.filter(({ kind }) => !known.includes(kind)).map(({ line }) => line)).toEqual([]);
  });

  it("names the gzipped sizes, rounded up to whole kilobytes", () => {
    const claimed = [...readme.matchAll(/(\w+)\.wasm (\d+) kB/g)];
    expect(claimed.map(([, module]) => module)).toEqual(["process", "shared"]);
    for (const [, module, kilobytes] of claimed) {
      const bytes = readFileSync(join(root, `dist/wasm/${module}-release.wasm`));
      expect(Math.ceil(gzipSync(bytes, { level: 9 }).length / 1000)).toBe(Number(kilobytes));
    }
  });

  it("shows the numbers of bench/results/published.json, and docs/benchmarks.md all of them", () => {
    const text = readFileSync(join(root, "bench/results/published.json"), "utf8");
    const report = JSON.parse(text) as Report;
    expect(withTable(readme, headlines(report))).toBe(readme);
    const all = readFileSync(join(root, "docs/benchmarks.md"), "utf8");
    expect(withTable(all, everything(report))).toBe(all);
    expect(HEADLINES.filter((id) => !report.rows.some((row) => row.id === id))).toEqual([]);
  });

  it("names methods and fields that the classes have", () => {
    const rows = [...readme.matchAll(/^\| `(\w+)` \| [^:|]+: (.*) \|$/gm)];
    expect(rows.map(([, name]) => name)).toContain("BufferPool");
    for (const [, name = "", members = ""] of rows) {
      const declared = declarationOf(name);
      const names = members.match(/\w+(?=[ `])/g) ?? [];
      expect(names.filter((member) => !declared.has(member))).toEqual([]);
    }
  });

  it("links to files that are there", () => {
    const targets = [...readme.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)].map(([, to]) => to);
    expect(targets.length).toBeGreaterThan(0);
    for (const target of targets) expect(readFileSync(join(root, target ?? ""))).toBeTruthy();
  });
});
