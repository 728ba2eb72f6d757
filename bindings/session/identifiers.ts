/**
 * Names that a user gives: of savepoints, cursors, variables, of the application. They are
 * identifiers, which PostgreSQL cuts to 63 bytes as it reads a command, whole characters, and says
 * so; two longer names that begin alike are one.
 *
 * PostgreSQL: src/backend/parser/scansup.c, truncate_identifier
 */

import type { Messages } from "./messages.ts";

/** PostgreSQL: NAMEDATALEN - 1 */
const MOST_BYTES = 63;

/** A name as it is found and shown. @internal */
export function identifier(name: string, messages: Messages): string {
  const { read } = new TextEncoder().encodeInto(name, new Uint8Array(MOST_BYTES));
  if (read === name.length) return name;
  const short = name.slice(0, read);
  messages.notice("42622", `identifier "${name}" will be truncated to "${short}"`);
  return short;
}

/** The name of a variable: identifiers with dots between them. @internal */
export function variableName(name: string, messages: Messages): string {
  const parts = String(name).split(".");
  return parts.map((part) => identifier(part, messages)).join(".");
}
