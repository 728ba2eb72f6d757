// A session over a region of its own, for tests, and what it says.

import {
  type Backend,
  type Relation,
  Session,
  type SessionMessage,
  type SessionOptions,
  type Settings,
} from "../../bindings/index.ts";
import { openPool, type Pool, stamped } from "./pool.ts";

/** What a test of sessions works with. */
export interface OpenedSession {
  readonly pool: Pool;
  readonly backend: Backend;
  readonly session: Session;
  /** Of 12 pages. */
  readonly relation: Relation;
  readonly messages: SessionMessage[];
}

/** Opens a session; all of it goes with the test. */
export async function openSession(
  checked: boolean,
  options: SessionOptions & { readonly regionSettings?: Settings } = {},
): Promise<OpenedSession> {
  const { regionSettings = {}, ...ofSession } = options;
  const pool = await openPool({ checked, files: false, settings: regionSettings });
  const backend = pool.attach({ memory: { maxMemory: "8MB", checked } });
  const relation = stamped(backend, "pages", 12);
  const messages: SessionMessage[] = [];
  const onMessage = (message: SessionMessage): void => void messages.push(message);
  const session = Session.open(backend, { onMessage, ...ofSession });
  return { pool, backend, session, relation, messages };
}

/** The tree of contexts, each with its place: `Top/TopPortalContext/PortalContext(q)`. */
export function treeOf({ memory }: Backend): string[] {
  const rows = memory.rows();
  return rows.map(({ path }) => {
    const names = path.slice(1).map((number) => {
      const { name = "", ident = null } = rows[number - 1] ?? {};
      return ident === null ? name : `${name}(${ident})`;
    });
    return names.join("/");
  });
}
