/** What every command of `palloc` needs to read its words. */

import { type ParseArgsConfig, parseArgs } from "node:util";

/** The command was not called as it can be. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * Reads the words behind a command: options, and operands in their order.
 *
 * @throws {@link UsageError} for an option that there is not
 */
export function readWords<Options extends NonNullable<ParseArgsConfig["options"]>>(
  words: readonly string[],
  options: Options,
): ReturnType<typeof parseArgs<{ options: Options; allowPositionals: true }>> {
  try {
    return parseArgs({ args: [...words], options, allowPositionals: true });
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}
