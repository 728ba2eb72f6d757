/**
 * One data directory, one owner: a second one would take checkpoints over the first one's pages.
 * What is held is a listening local socket named after the directory's device and inode, because
 * the system takes it back however the owner ends, thread or process. A file with a process id
 * would outlive a `kill -9`, ids come again, and two threads of a process have the same one.
 *
 *   Linux     an abstract socket, which is no file
 *   Windows   a named pipe
 *   others    a socket file in the temporary directory; one that nobody answers on is left over
 *             from a killed process and is replaced. Two that find it at the same moment may both
 *             replace it, and then there are two owners
 *
 * Two containers that share a directory, and not the network, do not see each other's sockets.
 *
 * PostgreSQL: src/backend/utils/init/miscinit.c, CreateDataDirLockFile
 */

import { createHash } from "node:crypto";
import { rmSync, statSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileError } from "./file-calls.ts";
import { StorageError } from "./manager.ts";

/**
 * Takes a directory for the calling thread; what is held does not keep the process alive.
 *
 * @param directory - absolute path of a directory that is there
 * @returns a function that gives it back at once; a second call does nothing
 * @throws {@link StorageError} 55006 if another process or thread, or this one, has it
 */
export async function interlock(directory: string): Promise<() => void> {
  const server = await take(directory);
  if (server !== undefined) return () => void server.close();
  const message = `data directory "${directory}" is in use by another process or thread`;
  throw new StorageError("55006", message, directory, {
    hint: "Wait until that one has ended, or use another directory.",
  });
}

async function take(directory: string): Promise<Server | undefined> {
  const isFile = process.platform !== "linux" && process.platform !== "win32";
  try {
    const address = addressOf(directory);
    const server = await listen(address);
    if (server !== undefined || !isFile || (await answers(address))) return server;
    rmSync(address, { force: true });
    return await listen(address);
  } catch (cause) {
    throw fileError(`could not claim data directory "${directory}"`, directory, cause);
  }
}

function addressOf(directory: string): string {
  const { dev, ino } = statSync(directory, { bigint: true });
  const name = `palloc-${createHash("sha256").update(`${dev}:${ino}`).digest("hex").slice(0, 32)}`;
  if (process.platform === "linux") return `\0${name}`;
  return process.platform === "win32" ? `\\\\.\\pipe\\${name}` : join(tmpdir(), `${name}.sock`);
}

/** A server that does not keep the process alive; undefined if the address is taken. */
function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    // Not exclusive, the workers of a cluster would be given their primary's one socket.
    server.listen({ path, exclusive: true }, () => resolve(server.unref()));
  });
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
