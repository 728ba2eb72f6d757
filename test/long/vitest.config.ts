// `npm run test:long`: proofs that take too long for every run of `npm test`.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: [
      "test/long/**/*.test.ts",
      "test/isolation/ends.test.ts",
      "test/durability/kill.test.ts",
    ],
    env: { PALLOC_LONG: "1" },
    testTimeout: 30 * 60_000,
    disableConsoleIntercept: true,
  },
});
