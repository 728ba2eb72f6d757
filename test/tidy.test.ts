// Holds the repository to its own rules of style, as far as a program can tell.
//
// Each rule of test/tidy/ carries snippets on which it must fail and others on which it must not,
// so that a rule that finds nothing is known to be looking. A finding names file and line.

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { arrows } from "./tidy/arrows.ts";
import * as assembly from "./tidy/assembly.ts";
import * as bindings from "./tidy/bindings.ts";
import * as leftovers from "./tidy/leftovers.ts";
import * as shape from "./tidy/shape.ts";
import { filesOfRepository, type Rule } from "./tidy/source.ts";

const rules: Rule[] = [
  arrows,
  ...Object.values(shape),
  ...Object.values(assembly),
  ...Object.values(bindings),
  ...Object.values(leftovers),
];
const files = filesOfRepository(fileURLToPath(new URL("..", import.meta.url)));

describe.each(rules)("$name", ({ check, covers, offending, accepted }) => {
  it("holds throughout the repository", () => {
    const covered = files.filter(({ path }) => covers(path));
    expect(covered.length).toBeGreaterThan(0);
    const findings = covered.flatMap((file) =>
      check(file).map(({ line, message }) => `${file.path}:${line}: ${message}`),
    );
    expect(findings).toEqual([]);
  });

  it("is able to fail", () => {
    expect(offending.length).toBeGreaterThan(0);
    expect(offending.filter((file) => !covers(file.path) || check(file).length === 0)).toEqual([]);
  });

  it("is able to pass", () => {
    expect(accepted.filter((file) => !covers(file.path) || check(file).length > 0)).toEqual([]);
  });
});
