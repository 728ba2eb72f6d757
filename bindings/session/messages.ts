/**
 * What a session tells besides results: warnings and notices, in PostgreSQL's words and with its
 * codes. `client_min_messages` decides which are passed on.
 *
 * PostgreSQL: src/backend/utils/error/elog.c, should_output_to_client
 */

import type { ErrorParts } from "../abi/errors.ts";
import type { MessageLevel, ResolvedSettings } from "../shared/settings.ts";
import { warnOnNode } from "../shared/threads.ts";

/** A message of a session. */
export interface SessionMessage {
  readonly severity: "WARNING" | "NOTICE";
  /** SQLSTATE. */
  readonly code: string;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
}

/** Passes messages on. @internal */
export class Messages {
  readonly #settings: ResolvedSettings;
  readonly #receive: (message: SessionMessage) => void;

  constructor(
    settings: ResolvedSettings,
    receive: (message: SessionMessage) => void = ({ severity, message }) =>
      warnOnNode(`${severity}: ${message}`),
  ) {
    this.#settings = settings;
    this.#receive = receive;
  }

  /** Something is wrong, and goes on all the same. */
  warning(code: string, message: string, { detail, hint }: ErrorParts = {}): void {
    if (!this.#passes("warning")) return;
    this.#receive({ severity: "WARNING", code, message, detail, hint });
  }

  /** Something the user may want to know. */
  notice(code: string, message: string, { detail, hint }: ErrorParts = {}): void {
    if (!this.#passes("notice")) return;
    this.#receive({ severity: "NOTICE", code, message, detail, hint });
  }

  #passes(level: MessageLevel): boolean {
    const least = this.#settings.values.client_min_messages;
    return LEVELS.indexOf(level) >= LEVELS.indexOf(least);
  }
}

/** The least important first. */
const LEVELS: readonly MessageLevel[] = [
  ...(["debug5", "debug4", "debug3", "debug2", "debug1"] as const),
  ...(["log", "info", "notice", "warning", "error"] as const),
];
