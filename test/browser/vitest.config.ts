// `npm run test:browser`: the built package in a real Chromium, on a page that is isolated across
// origins, as SharedArrayBuffer demands. The environment variable CHROMIUM names another one.
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";

const { CHROMIUM = "/usr/bin/chromium" } = process.env;
const quietly = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

export default defineConfig({
  server: {
    headers: {
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
      "Cross-Origin-Resource-Policy": "same-origin",
    },
  },
  optimizeDeps: { include: ["@assemblyscript/loader"] },
  test: {
    include: ["test/browser/**/*.test.ts"],
    testTimeout: 60_000,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      provider: playwright({
        launchOptions: {
          executablePath: CHROMIUM,
          args: ["--no-sandbox", ...quietly],
        },
      }),
      instances: [{ browser: "chromium" }],
    },
  },
});
