// Parameters: what texts mean, which are refused and in which words, and how values are shown.
// The expected values and messages are PostgreSQL's own.

import { describe, expect, test } from "vitest";
import { parameters } from "../../bindings/shared/parameters.ts";
import {
  findParameter,
  parseParameter,
  resolveSettings,
  type Settings,
} from "../../bindings/shared/settings.ts";

const unitHint = 'Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".';

function invalid(name: string, text: string, hint: string | undefined): unknown {
  return expect.objectContaining({
    name: "InvalidParameterError",
    code: "22023",
    parameter: name,
    message: `invalid value for parameter "${name}": "${text}"`,
    hint,
  });
}

function outside(name: string, message: string): unknown {
  return expect.objectContaining({
    name: "InvalidParameterError",
    code: "22023",
    parameter: name,
    message: `${message.replace("#", `is outside the valid range for parameter "${name}"`)}`,
    hint: undefined,
  });
}

describe("an integer with a unit", () => {
  test.each([
    ["128MB", 16384],
    ["1GB", 131072],
    ["16", 16],
    ["0.5MB", 64],
    ["1 MB", 128],
    ["512 kB ", 64],
    [" \t512kB", 64],
    ["132kB", 16],
    ["140kB", 18],
    ["0x40", 64],
    ["0100", 64],
    ["1e3", 1000],
    ["+20", 20],
    ["16.5", 16],
    ["17.5", 18],
    [".5GB", 65536],
    ["1.e2", 100],
    ["0x1.8p5", 48],
    ["8589934584kB", 1073741823],
    ["1TB", 134217728],
    ["131072B", 16],
    ["30.1GB", 3945216],
  ])("shared_buffers of %j is %i blocks", (text, blocks) => {
    expect(parseParameter("shared_buffers", text)).toBe(blocks);
  });

  test.each(["128mb", "128KB", "128M", "128 MiB", "128kBx", "1 M B", "08", "0x", "1e", "4TBB"])(
    "shared_buffers of %j is refused with the list of units",
    (text) => {
      expect(() => parseParameter("shared_buffers", text)).toThrow(
        invalid("shared_buffers", text, unitHint),
      );
    },
  );

  test.each(["", " ", "kB", "abc", " .5MB", "nan", "inf", "1e400", "-", "true"])(
    "shared_buffers of %j is refused without a hint",
    (text) => {
      expect(() => parseParameter("shared_buffers", text)).toThrow(
        invalid("shared_buffers", text, undefined),
      );
    },
  );

  test.each(["2147483648", "99999999999999999999", "-2147483649", "16384TB", "1e10"])(
    "shared_buffers of %j is refused as too large for an integer",
    (text) => {
      expect(() => parseParameter("shared_buffers", text)).toThrow(
        invalid("shared_buffers", text, "Value exceeds integer range."),
      );
    },
  );

  test.each([
    ["100kB", "12 8kB # (16 8kB .. 1073741823 8kB)"],
    ["0", "0 8kB # (16 8kB .. 1073741823 8kB)"],
    ["-1", "-1 8kB # (16 8kB .. 1073741823 8kB)"],
    ["-0.4", "0 8kB # (16 8kB .. 1073741823 8kB)"],
    ["8TB", "1073741824 8kB # (16 8kB .. 1073741823 8kB)"],
  ])("shared_buffers of %j is outside its range", (text, message) => {
    expect(() => parseParameter("shared_buffers", text)).toThrow(
      outside("shared_buffers", message),
    );
  });

  test("work_mem counts kB, and is refused with the words of PostgreSQL", () => {
    expect(parseParameter("work_mem", "64")).toBe(64);
    expect(parseParameter("work_mem", "4MB")).toBe(4096);
    expect(parseParameter("work_mem", "66049B")).toBe(65);
    expect(() => parseParameter("work_mem", "4mb")).toThrow(invalid("work_mem", "4mb", unitHint));
    expect(() => parseParameter("work_mem", "63kB")).toThrow(
      outside("work_mem", "63 kB # (64 kB .. 2097151 kB)"),
    );
    expect(() => parseParameter("work_mem", "2GB")).toThrow(
      outside("work_mem", "2097152 kB # (64 kB .. 2097151 kB)"),
    );
  });
});

describe("a time", () => {
  const timeHint = 'Valid units for this parameter are "us", "ms", "s", "min", "h", and "d".';

  test.each([
    ["bgwriter_delay", "200", 200],
    ["bgwriter_delay", "1s", 1000],
    ["bgwriter_delay", "1.5 s", 1500],
    ["bgwriter_delay", "11500us", 12],
    ["bgwriter_delay", "12500us", 12],
    ["bgwriter_delay", "12501us", 13],
    ["bgwriter_delay", "10.6ms", 11],
    ["bgwriter_delay", "0.1min", 6000],
    ["checkpoint_timeout", "30", 30],
    ["checkpoint_timeout", "5min", 300],
    ["checkpoint_timeout", "1.5h", 5400],
    ["checkpoint_timeout", "1d", 86400],
    ["checkpoint_timeout", "29500ms", 30],
    ["checkpoint_timeout", "30500ms", 30],
    ["checkpoint_timeout", "40000000us", 40],
    // A fraction of a day is rounded to hours.
    ["checkpoint_timeout", "0.06d", 3600],
  ])("%s of %j is %i", (name, text, value) => {
    expect(parseParameter(name, text)).toBe(value);
  });

  test.each(["1m", "1S", "30 D", "1ms 2", "1kB", "1MB", "1usx", "1 hour"])(
    "bgwriter_delay of %j is refused with the list of units",
    (text) => {
      expect(() => parseParameter("bgwriter_delay", text)).toThrow(
        invalid("bgwriter_delay", text, timeHint),
      );
    },
  );

  test.each([
    ["bgwriter_delay", "9", "9 ms # (10 ms .. 10000 ms)"],
    ["bgwriter_delay", "11s", "11000 ms # (10 ms .. 10000 ms)"],
    ["checkpoint_timeout", "29s", "29 s # (30 s .. 86400 s)"],
    ["checkpoint_timeout", "25h", "90000 s # (30 s .. 86400 s)"],
  ])("%s of %j is outside its range", (name, text, message) => {
    expect(() => parseParameter(name, text)).toThrow(outside(name, message));
  });

  test("work_mem takes no time, and checkpoint_timeout overflows as an integer", () => {
    expect(() => parseParameter("work_mem", "1s")).toThrow(invalid("work_mem", "1s", unitHint));
    expect(() => parseParameter("checkpoint_timeout", "1000000d")).toThrow(
      invalid("checkpoint_timeout", "1000000d", "Value exceeds integer range."),
    );
  });
});

describe("one of several words", () => {
  test.each(["sync", "SYNC", "Sync"])("io_method of %j is sync", (text) => {
    expect(parseParameter("io_method", text)).toBe("sync");
  });

  test.each(["", "io_uring", " sync", "syn", "true", "0"])("io_method of %j is refused", (text) => {
    expect(() => parseParameter("io_method", text)).toThrow(
      invalid("io_method", text, "Available values: sync, worker."),
    );
  });
});

describe("a number that may be 0 or from some number on", () => {
  test.each([
    ["0", 0],
    ["128", 128],
    ["2MB", 2048],
    ["16GB", 16777216],
  ])("vacuum_buffer_usage_limit of %j is %i", (text, value) => {
    expect(parseParameter("vacuum_buffer_usage_limit", text)).toBe(value);
  });

  test.each([
    ["127", 127],
    ["1", 1],
    ["100kB", 100],
  ])("vacuum_buffer_usage_limit of %j is refused with what it must be", (text, value) => {
    expect(() => parseParameter("vacuum_buffer_usage_limit", text)).toThrow(
      expect.objectContaining({
        code: "22023",
        message: `invalid value for parameter "vacuum_buffer_usage_limit": ${value}`,
        detail: '"vacuum_buffer_usage_limit" must be 0 or between 128 kB and 16777216 kB.',
      }),
    );
  });
});

describe("a number without a unit", () => {
  test("max_connections takes no unit", () => {
    expect(parseParameter("max_connections", " 987 ")).toBe(987);
    expect(() => parseParameter("max_connections", "16kB")).toThrow(
      invalid("max_connections", "16kB", undefined),
    );
    expect(() => parseParameter("max_connections", "0")).toThrow(
      outside("max_connections", "0 # (1 .. 987)"),
    );
    expect(() => parseParameter("max_connections", "988")).toThrow(
      outside("max_connections", "988 # (1 .. 987)"),
    );
  });

  test.each([
    ["1.5", 1.5],
    [" 2 ", 2],
    ["1e3", 1000],
    ["0x2", 2],
    ["010", 10],
    ["0x1.8p1", 3],
  ])("hash_mem_multiplier of %j is %d", (text, value) => {
    expect(parseParameter("hash_mem_multiplier", text)).toBe(value);
  });

  test.each([
    ["0.5", "0.5 # (1 .. 1000)"],
    ["1000.001", "1000 # (1 .. 1000)"],
    ["1e9", "1e+09 # (1 .. 1000)"],
    ["0.00001234567", "1.23457e-05 # (1 .. 1000)"],
    ["-0", "0 # (1 .. 1000)"],
    ["infinity", "Infinity # (1 .. 1000)"],
  ])("hash_mem_multiplier of %j is outside its range", (text, message) => {
    expect(() => parseParameter("hash_mem_multiplier", text)).toThrow(
      outside("hash_mem_multiplier", message),
    );
  });

  test.each(["2kB", "", "nan", "two", "1e400", "1e-400", "1,5"])(
    "hash_mem_multiplier of %j is refused",
    (text) => {
      expect(() => parseParameter("hash_mem_multiplier", text)).toThrow(
        invalid("hash_mem_multiplier", text, undefined),
      );
    },
  );
});

describe("a Boolean", () => {
  test.each(["on", "ON", "true", "t", "tru", "yes", "y", "1"])("%j is true", (text) => {
    expect(parseParameter("data_checksums", text)).toBe(true);
  });

  test.each(["off", "of", "false", "F", "no", "n", "0"])("%j is false", (text) => {
    expect(parseParameter("data_checksums", text)).toBe(false);
  });

  test.each(["o", "", " on", "on ", "10", "onn", "maybe"])("%j is refused", (text) => {
    expect(() => parseParameter("data_checksums", text)).toThrow(
      expect.objectContaining({
        name: "InvalidParameterError",
        code: "22023",
        message: 'parameter "data_checksums" requires a Boolean value',
      }),
    );
  });
});

describe("settings", () => {
  test("have defaults", () => {
    const settings = resolveSettings();
    const boot = parameters.map(({ name, bootValue }) => [name, bootValue]);
    expect(settings.values).toEqual(Object.fromEntries(boot));
    expect(settings.values).toMatchObject({
      shared_buffers: 16384,
      work_mem: 4096,
      hash_mem_multiplier: 2,
      max_connections: 16,
      data_checksums: true,
      io_method: "sync",
      checkpoint_timeout: 300,
      track_io_timing: false,
    });
    expect(settings.sharedBuffers).toBe(16384);
    expect(settings.workMemBytes).toBe(4194304);
    expect(settings.hashMemMultiplier).toBe(2);
    expect(settings.hashMemBytes).toBe(8388608);
    expect(settings.maxConnections).toBe(16);
    expect(settings.dataChecksums).toBe(true);
  });

  test("take texts and numbers; a number counts in the parameter's unit", () => {
    const settings = resolveSettings({
      shared_buffers: 100,
      work_mem: "1MB",
      hash_mem_multiplier: 1.5,
      max_connections: "3",
      data_checksums: false,
    });
    expect(settings.sharedBuffers).toBe(100);
    expect(settings.workMemBytes).toBe(1048576);
    expect(settings.hashMemBytes).toBe(1572864);
    expect(settings.maxConnections).toBe(3);
    expect(settings.dataChecksums).toBe(false);
  });

  test("io_combine_limit is shown as set, and used only up to io_max_combine_limit", () => {
    const settings = resolveSettings({ io_combine_limit: "1MB" });
    expect(settings.show("io_combine_limit")).toBe("1MB");
    expect(settings.ioCombineLimit).toBe(16);
    const wide = resolveSettings({ io_combine_limit: "512kB", io_max_combine_limit: "1MB" });
    expect(wide.ioCombineLimit).toBe(64);
  });

  test("resolve to the same again from their values, which can be posted", () => {
    const settings = resolveSettings({ shared_buffers: "1GB", hash_mem_multiplier: 2.25 });
    const again = resolveSettings(structuredClone(settings.values));
    expect(again.values).toEqual(settings.values);
    again.assign("work_mem", 64);
    expect([settings.workMemBytes, again.workMemBytes]).toEqual([4194304, 65536]);
  });

  test("refuse a name that is none, with 42704", () => {
    const unknown = expect.objectContaining({
      name: "UndefinedParameterError",
      code: "42704",
      parameter: "foo",
      message: 'unrecognized configuration parameter "foo"',
    });
    expect(() => resolveSettings({ foo: 1 } as Settings)).toThrow(unknown);
    expect(() => resolveSettings({ foo: undefined } as Settings)).toThrow(unknown);
    expect(() => findParameter("foo")).toThrow(unknown);
    expect(() => resolveSettings().show("foo")).toThrow(unknown);
  });

  test("refuse values of other types as the text they become", () => {
    const values: [unknown, string][] = [
      [null, "null"],
      [true, "true"],
      [{}, "[object Object]"],
      [Number.NaN, "NaN"],
      [Number.POSITIVE_INFINITY, "Infinity"],
    ];
    for (const [value, text] of values) {
      expect(() => resolveSettings({ work_mem: value } as Settings)).toThrow(
        invalid("work_mem", text, undefined),
      );
    }
  });

  test("find names in any case, and report them in their own", () => {
    expect(resolveSettings({ Work_Mem: "1MB" } as Settings).workMemBytes).toBe(1048576);
    expect(() => parseParameter("SHARED_BUFFERS", "x")).toThrow(
      invalid("shared_buffers", "x", undefined),
    );
  });
});

describe("showing", () => {
  test.each([
    [{ shared_buffers: 16384 }, "shared_buffers", "128MB"],
    [{ shared_buffers: 12345 }, "shared_buffers", "98760kB"],
    [{ shared_buffers: 131072 }, "shared_buffers", "1GB"],
    [{ shared_buffers: "1TB" }, "shared_buffers", "1TB"],
    [{ work_mem: 1000 }, "work_mem", "1000kB"],
    [{ work_mem: 4096 }, "work_mem", "4MB"],
    [{ hash_mem_multiplier: 2 }, "hash_mem_multiplier", "2"],
    [{ hash_mem_multiplier: 1.25 }, "hash_mem_multiplier", "1.25"],
    [{ hash_mem_multiplier: 262.0625 }, "hash_mem_multiplier", "262.062"],
    [{ hash_mem_multiplier: 262.1875 }, "hash_mem_multiplier", "262.188"],
    [{ max_connections: 20 }, "MAX_CONNECTIONS", "20"],
    [{}, "checkpoint_timeout", "5min"],
    [{ checkpoint_timeout: 61 }, "checkpoint_timeout", "61s"],
    [{ checkpoint_timeout: "18h" }, "checkpoint_timeout", "18h"],
    [{ checkpoint_timeout: "24h" }, "checkpoint_timeout", "1d"],
    [{ bgwriter_lru_maxpages: 0 }, "bgwriter_lru_maxpages", "0"],
    [{ bgwriter_delay: 1500 }, "bgwriter_delay", "1500ms"],
    [{ bgwriter_delay: 2000 }, "bgwriter_delay", "2s"],
    [{ io_method: "WORKER" }, "io_method", "worker"],
    [{ io_combine_limit: 17 }, "io_combine_limit", "136kB"],
    [{}, "data_checksums", "on"],
    [{ data_checksums: "no" }, "data_checksums", "off"],
  ] as [Settings, string, string][])("%j has %s of %s", (settings, name, shown) => {
    expect(resolveSettings(settings).show(name)).toBe(shown);
  });
});

test("the table of parameters is sorted, described, and its defaults are within their ranges", () => {
  const names = parameters.map(({ name }) => name);
  expect(names).toEqual([...names].sort());
  for (const parameter of parameters) {
    expect(parameter.description).toMatch(/^[A-Z].+\.$/);
    expect(parseParameter(parameter.name, parameter.bootValue)).toBe(parameter.bootValue);
  }
});
