/**
 * Makes the client library a package that other projects take (`deno task package`): the folder
 * `dist/package` and, of the same files, `dist/trilog-VERSION.tgz`. One module without
 * dependencies, and the types of what it exports. Needs no network.
 */

const ROOT = import.meta.dirname!;
const DIST = `${ROOT}/dist`;
const ENTRY = "lib/client/mod.ts";
/** Packages that the module contains; their licences go with it. */
const CONTAINED = ["@msgpack/msgpack"];

interface Configuration {
  readonly version: string;
  readonly license: string;
  readonly imports: Readonly<Record<string, string>>;
  readonly compilerOptions: Readonly<Record<string, unknown>>;
}

/** Runs a program in a folder; gives its output, or ends with what it said. */
async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  const env = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" };
  const options = { args, cwd, env, stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const { code, stdout, stderr } = await new Deno.Command(command, options).output();
  if (code === 0) return new TextDecoder().decode(stdout);
  console.error(new TextDecoder().decode(stderr));
  throw new Error(`Cannot make package: ${command} ${args.join(" ")} ended with ${code}`);
}

/** Paths of the files that the entry imports, itself included. */
async function sources(): Promise<string[]> {
  const output = await run(ROOT, Deno.execPath(), "info", "--json", ENTRY);
  const { modules } = JSON.parse(output) as { modules: readonly { specifier: string }[] };
  const prefix = new URL(`file://${ROOT}/`).href;
  return modules.map(({ specifier }) => specifier)
    .filter((specifier) => specifier.startsWith(prefix))
    .map((specifier) => specifier.slice(prefix.length));
}

/** Declarations of everything that programs can name, in a folder of their own. */
async function makeTypes(work: string, configuration: Configuration): Promise<string> {
  const source = `${work}/source`;
  for (const path of await sources()) {
    Deno.mkdirSync(`${source}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    Deno.copyFileSync(`${ROOT}/${path}`, `${source}/${path}`);
  }
  const { version, license, imports, compilerOptions } = configuration;
  writeJson(`${source}/deno.json`, {
    // Only a scoped name will do; it goes no further than these declarations.
    name: "@trilog/client",
    version,
    license,
    exports: `./${ENTRY}`,
    imports,
    compilerOptions: { ...compilerOptions, types: [] },
  });
  const archive = `${work}/types.tgz`;
  const flags = ["--quiet", "--allow-dirty", "--no-source-maps", "--output", archive];
  await run(source, Deno.execPath(), "pack", ...flags);
  await run(work, "tar", "-xzf", archive);
  Deno.renameSync(`${work}/package`, `${work}/types`);
  return `${work}/types`;
}

/** A statement that takes names from another file of the library. */
const FROM = /\b(import|export)\s+(?:type\s+)?(\{[^}]*\}|\*)\s+from\s+"(\.[^"]+)";/g;
/** What declares a name, at the beginning of a line or behind its comment. */
const DECLARED =
  /(?:^|\*\/ )(?:export )?(?:declare )?(?:class|interface|type|const|function) (\w+)/gm;

/**
 * All declarations as one file, of which only what the entry exports is exported. Deno and
 * TypeScript do not agree on how declarations in several files name each other.
 */
function joinDeclarations(folder: string): string {
  const entry = `${folder}/${ENTRY.replace(/ts$/, "d.ts")}`;
  const texts = new Map<string, string>();
  const visit = (path: string) => {
    if (texts.has(path)) return;
    const text = Deno.readTextFileSync(path);
    texts.set(path, "");
    for (const [, , names, file] of text.matchAll(FROM)) {
      if (names.includes(" as ")) throw new Error(`Cannot make package: ${path} renames ${names}`);
      visit(new URL(file.replace(/js$/, "d.ts"), `file://${path}`).pathname);
    }
    texts.delete(path);
    texts.set(path, text.replaceAll(FROM, ""));
  };
  visit(entry);
  const joined = [...texts.values()].join("\n");
  const names = [...joined.matchAll(DECLARED)].map(([, name]) => name).sort();
  const twice = names.filter((name, at) => name === names[at - 1]);
  if (twice.length > 0) throw new Error(`Cannot make package: declared twice: ${twice.join(" ")}`);
  const exported = [...Deno.readTextFileSync(entry).matchAll(FROM)].map(([whole, , list]) =>
    /^export\s+type/.test(whole) ? list.replaceAll(/\w+/g, "type $&") : list
  );
  const lists = exported.map((list) => list.replaceAll(/[{}]/g, "").trim().replace(/,$/, ""));
  const own = joined.replaceAll(/\bexport (?=(?:declare|interface|type|abstract)\b)/g, "");
  return `${own}\nexport { ${lists.join(", ")} };\n`;
}

/** The module itself, with everything that it imports. */
async function makeModule(target: string): Promise<void> {
  const flags = ["--quiet", "--platform", "deno", "--output", target];
  await run(ROOT, Deno.execPath(), "bundle", ...flags, ENTRY);
  const types = '// @ts-self-types="./client.d.ts"\n';
  Deno.writeTextFileSync(target, types + Deno.readTextFileSync(target));
}

function licences(): string {
  return CONTAINED.map((name) => {
    let folder = new URL(".", import.meta.resolve(name));
    while (!exists(new URL("LICENSE", folder))) folder = new URL("..", folder);
    return `${name}\n\n${Deno.readTextFileSync(new URL("LICENSE", folder))}`;
  }).join("\n");
}

function exists(path: URL): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound && path.pathname !== "/LICENSE") return false;
    throw thrown;
  }
}

function writeJson(path: string, value: unknown): void {
  Deno.writeTextFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

function readme(version: string): string {
  return `# trilog/client ${version}

Producers and consumers of trilog's message queue, for Deno and for Node.js from 20 on.

    import { Client } from "trilog/client";

    const client = await Client.connect({ bootstrap: ["127.0.0.1:9001"] });
    const producer = client.producer();
    await producer.send("orders", { key: "alice", value: "one apple" });
    await producer.stop();
    client.close();

The documentation is in \`client.d.ts\`.
`;
}

async function main(): Promise<void> {
  const configuration: Configuration = JSON.parse(Deno.readTextFileSync(`${ROOT}/deno.json`));
  const { version, license } = configuration;
  Deno.mkdirSync(DIST, { recursive: true });
  const work = Deno.makeTempDirSync({ dir: DIST, prefix: "package." });
  try {
    const built = `${work}/built`;
    Deno.mkdirSync(built);
    const [types] = await Promise.all([
      makeTypes(work, configuration),
      makeModule(`${built}/client.js`),
    ]);
    Deno.writeTextFileSync(`${built}/client.d.ts`, joinDeclarations(types));
    Deno.copyFileSync(`${ROOT}/LICENSE`, `${built}/LICENSE`);
    Deno.writeTextFileSync(`${built}/LICENSES-OF-CONTAINED.txt`, licences());
    Deno.writeTextFileSync(`${built}/README.md`, readme(version));
    writeJson(`${built}/package.json`, {
      name: "trilog",
      version,
      description: "Client of trilog's replicated message queue",
      license,
      type: "module",
      exports: { "./client": { types: "./client.d.ts", default: "./client.js" } },
      engines: { node: ">=20" },
    });
    Deno.renameSync(built, `${work}/package`);
    await run(work, "tar", "-czf", `${work}/archive.tgz`, "package");
    const archive = `${DIST}/trilog-${version}.tgz`;
    Deno.renameSync(`${work}/archive.tgz`, archive);
    if (existsFolder(`${DIST}/package`)) Deno.removeSync(`${DIST}/package`, { recursive: true });
    Deno.renameSync(`${work}/package`, `${DIST}/package`);
    console.log(`${archive}\n${DIST}/package`);
  } finally {
    Deno.removeSync(work, { recursive: true });
  }
}

function existsFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return false;
    throw thrown;
  }
}

if (import.meta.main) await main();
