// `npm test`: everything that needs Node alone. Browser, package and long tests have configs of their own.
// What reads pages through the pool runs a second time where I/O workers read (test/support/io-methods.ts).
// One file for each core: most of the time is spent in searches of one thread.
import { defineConfig } from "vitest/config";

const timeouts = { testTimeout: 120_000, hookTimeout: 120_000 };
const readers = "{async,checkpoint,pool-*,prewarm,read-stream,strategy,temp-relations,writers}";

export default defineConfig({
  test: {
    maxWorkers: "100%",
    projects: [
      {
        test: {
          ...timeouts,
          name: "sync",
          include: ["test/**/*.test.ts"],
          exclude: ["test/browser/**", "test/package/**", "test/long/**", "node_modules", "dist"],
        },
      },
      {
        test: {
          ...timeouts,
          name: "worker",
          include: [`test/shared/${readers}.test.ts`, "test/workers/stress.test.ts"],
          env: { PALLOC_IO_METHOD: "worker" },
        },
      },
    ],
  },
});
