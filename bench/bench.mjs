// The paired benchmark of recording; README.md says what it measures.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { arch, availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { build } from '../scripts/build.mjs';
import { installPackages } from '../scripts/lib/install.mjs';
import { root } from '../scripts/lib/root.mjs';
import { Failure, findCommand, main, output } from '../scripts/lib/run.mjs';

const ticksPerSecond = 100;
const started = new Set();

/** Starts a process that is ended with the benchmark; `ended` resolves to its exit code. */
function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const running = { child, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (running.stdout += chunk));
  child.stderr.on('data', (chunk) => (running.stderr += chunk));
  running.ended = new Promise((resolve) => {
    child.once('close', (code, signal) => {
      started.delete(child);
      resolve(code ?? signal);
    });
  });
  started.add(child);
  return running;
}

async function until(what, condition) {
  for (let tries = 0; tries < 500; tries += 1) {
    const value = await condition();
    if (value) return value;
    await sleep(20);
  }
  throw new Failure(`${what}: not within 10 s`);
}

const listening = (port) =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });

/** A port below those that the kernel gives to outgoing connections. */
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    if (!(await listening(port))) return port;
  }
}

/** The processes whose command line satisfies `wanted`. */
function processes(wanted) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
        return command.length > 0 && wanted(command);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Processor time of a process, in microseconds, its ended threads included. */
function processorTime(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1e6;
}

/** Memory of a process in MB: in all, its own, and shared memory. */
function memory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name) => Number(status.match(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm'))?.[1] ?? NaN) / 1024;
  return { rss: field('VmRSS'), own: field('RssAnon'), shared: field('RssShmem') };
}

/** Ticks of all processors: those in which they were idle, and all. */
function processors() {
  const ticks = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1, 9).map(Number);
  return { idle: ticks[3] + ticks[4], all: ticks.reduce((sum, value) => sum + value, 0) };
}

const microseconds = (text) => {
  const [, value, unit] = text.match(/([\d.]+)(us|ms|s)/);
  return Number(value) * { us: 1, ms: 1e3, s: 1e6 }[unit];
};

async function wrk(port, { seconds, connections }) {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', `http://127.0.0.1:${port}/item`];
  const running = start('wrk', args);
  const code = await running.ended;
  const text = running.stdout;
  if (code !== 0 || /Non-2xx|Socket errors/.test(text))
    throw new Failure(`wrk failed:\n${text}${running.stderr}`);
  const line = (expression) => text.match(expression)?.[1] ?? '';
  return {
    requests: Number(line(/(\d+) requests in/)),
    throughput: Number(line(/Requests\/sec:\s+([\d.]+)/)),
    p50: microseconds(line(/ 50%\s+(\S+)/)),
    p99: microseconds(line(/ 99%\s+(\S+)/)),
  };
}

/** What the files of a recording hold, by a CBOR library alone. */
async function recorded(folder) {
  const { Decoder } = await import('cbor-x');
  const decoder = new Decoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
  const result = { sessions: 0, calls: 0, incomplete: 0, bytes: 0 };
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.cborseq'))) {
    result.bytes += statSync(join(folder, name)).size;
    decoder.decodeMultiple(readFileSync(join(folder, name)), (session) => {
      if (session.Context === 'boot') return;
      if (session.Incomplete || !session.ReturnInbound) result.incomplete += 1;
      else result.sessions += 1;
      result.calls += session.Actions?.length ?? 0;
    });
  }
  return { ...result, manifest: JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) };
}

/** A running server, bare or recorded. */
async function launch(binary, redisPort, kind) {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'koala-bench-'));
  const recording = join(folder, 'recording');
  const program = [binary, String(port), String(redisPort)];
  const koala = [process.execPath, join(root, 'dist/cli/main.js'), 'record', '--to', recording, '--'];
  const [command, ...rest] = kind === 'koala' ? [...koala, ...program] : program;
  const running = start(command, rest);
  await until('the server', async () => {
    if (running.child.exitCode !== null)
      throw new Failure(`the server ended:\n${running.stdout}${running.stderr}`);
    return listening(port);
  });
  const [pid] = processes((line) => line[0] === binary && line[1] === String(port));
  const [agent] =
    kind === 'koala'
      ? processes(([name, ...args]) => name.endsWith('koala-agent') && args.includes(recording))
      : [];
  if (kind === 'koala' && !agent) throw new Failure('there is no koala-agent for the recording');
  return { kind, port, pid, agent, folder, recording, running, slices: [] };
}

/** Loads a server for a second, and notes what came of it. */
async function slice(server, connections) {
  const times = () => ({
    program: processorTime(server.pid),
    agent: server.agent ? processorTime(server.agent) : 0,
    all: processors(),
  });
  const before = times();
  const load = wrk(server.port, { seconds: 1, connections });
  await sleep(800);
  const use = { ...memory(server.pid), agentRss: server.agent ? memory(server.agent).rss : undefined };
  const result = await load;
  // What the agent has not done yet is its time as well.
  await sleep(50);
  const after = times();
  const [idle, all] = ['idle', 'all'].map((key) => after.all[key] - before.all[key]);
  server.slices.push({
    ...result,
    ...use,
    program: after.program - before.program,
    agent: after.agent - before.agent,
    busy: 1 - idle / all,
  });
}

/** Ends a server: what its slices come to, and what was recorded of it. */
async function end({ kind, pid, agent, folder, recording, running, slices }) {
  process.kill(pid, 'SIGTERM');
  const code = await running.ended;
  const served = Number(running.stdout.match(/^served (\d+)$/m)?.[1] ?? NaN);
  if (code !== 0 || Number.isNaN(served))
    throw new Failure(`the server ended with ${code}: ${running.stderr}`);
  if (agent)
    await until('the end of the agent', () => processes(() => true).every((other) => other !== agent));
  const result = { served, ...(kind === 'koala' ? { recording: await recorded(recording) } : {}) };
  rmSync(folder, { recursive: true, force: true });
  const of = (key) => slices.map((part) => part[key]);
  const sum = (key) => of(key).reduce((all, value) => all + value, 0);
  return {
    ...result,
    slices: of('throughput'),
    throughput: sum('throughput') / slices.length,
    program: sum('program') / sum('requests'),
    agent: sum('agent') / sum('requests'),
    busy: sum('busy') / slices.length,
    ...Object.fromEntries(
      ['p50', 'p99', 'rss', 'own', 'shared', 'agentRss'].map((key) => [key, median(of(key))]),
    ),
  };
}

/** Both servers, loaded in turn for a second each, so often: neither always comes second. */
async function measure(binary, redisPort, kinds, { seconds, connections }) {
  const servers = [];
  for (const kind of kinds) servers.push(await launch(binary, redisPort, kind));
  for (const server of servers) await wrk(server.port, { seconds: 1, connections });
  for (let round = 0; round < seconds; round += 1) {
    for (const server of round % 2 === 0 ? servers : servers.toReversed()) await slice(server, connections);
  }
  const pair = {};
  for (const server of servers) pair[server.kind] = await end(server);
  return pair;
}

const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const rows = [
  ['throughput, requests/s', 'throughput', 0],
  ['p50, µs', 'p50', 0],
  ['p99, µs', 'p99', 0],
  ['processor time of the program per request, µs', 'program', 2],
  ['memory of the program (RSS), MB', 'rss', 2],
  ['of it its own (anonymous), MB', 'own', 2],
  ['of it shared with the agent, MB', 'shared', 2],
  ['processors busy, %', 'busy', 1],
];

/**
 * The throughput of all seconds recorded by that of all seconds bare, and its standard error, from how much the ratios of
 * neighbouring seconds differ.
 */
function throughputRatio(pairs) {
  const [bare, koala] = ['bare', 'koala'].map((kind) => pairs.flatMap((pair) => pair[kind].slices));
  const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const ratio = mean(koala) / mean(bare);
  // The ratio of two means, by the residuals of the first from what the second predicts.
  const squares = koala.map((value, index) => (value - ratio * bare[index]) ** 2);
  const count = koala.length;
  const variance = squares.reduce((sum, value) => sum + value, 0) / Math.max(1, count - 1);
  return { ratio, error: Math.sqrt(variance / count) / mean(bare) };
}

function table(pairs) {
  const column = (kind, key) => pairs.map((pair) => pair[kind][key] * (key === 'busy' ? 100 : 1));
  const lines = [
    '| what | bare | recorded | recorded / bare | in the pairs |',
    '| --- | ---: | ---: | ---: | --- |',
  ];
  for (const [name, key, digits] of rows) {
    const [bare, koala] = [column('bare', key), column('koala', key)];
    const ratios = koala.map((value, index) => value / bare[index]).filter(Number.isFinite);
    const ratio = ratios.length > 0 && key !== 'busy' ? median(ratios).toFixed(3) : '';
    const range = ratio && `${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)}`;
    lines.push(
      `| ${name} | ${median(bare).toFixed(digits)} | ${median(koala).toFixed(digits)} | ${ratio} | ${range} |`,
    );
  }
  const alone = (name, values, digits) => `| ${name} | | ${median(values).toFixed(digits)} | | |`;
  const bytes = pairs.map(({ koala: { recording } }) => recording.bytes / recording.sessions);
  const served = pairs.reduce((sum, { koala }) => sum + koala.served, 0);
  const sessions = pairs.reduce((sum, { koala }) => sum + koala.recording.sessions, 0);
  const { ratio, error } = throughputRatio(pairs);
  lines.push(
    `| all requests of all pairs, recorded / bare | | | ${ratio.toFixed(3)} | standard error ${error.toFixed(3)} |`,
    alone('processor time of the agent per request, µs', column('koala', 'agent'), 2),
    alone('memory of the agent (RSS), MB', column('koala', 'agentRss'), 1),
    alone('a session on disk, bytes', bytes, 0),
    `| requests served / sessions recorded | | ${served} / ${sessions} | | |`,
  );
  return lines.join('\n');
}

function machine() {
  const version = (command, args, expression) =>
    output(command, args, { stdio: 'pipe' })?.match(expression)?.[1] ?? '?';
  return [
    `- ${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GB, ${arch()}`,
    `- Linux ${release()}`,
    `- Redis ${version('redis-server', ['--version'], /v=(\S+)/)}, gcc ${version('gcc', ['-dumpfullversion'], /(\S+)/)}, Node ${process.versions.node}`,
  ].join('\n');
}

/** What is wrong with a recorded run; empty if nothing is. */
function faults({ served, recording }) {
  const wrong = [];
  if (recording.sessions !== served)
    wrong.push(`${served} requests were served, ${recording.sessions} sessions recorded`);
  if (recording.calls < recording.sessions)
    wrong.push(`${recording.sessions} sessions have ${recording.calls} calls`);
  const { Lost: lost } = recording.manifest;
  if (lost.Events !== 0 || lost.Bytes !== 0)
    wrong.push(`the manifest says that ${lost.Events} events were lost`);
  return wrong;
}

await main(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      pairs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '10' },
      connections: { type: 'string', default: '16' },
      bare: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
    },
  });
  const settings = { seconds: Number(values.seconds), connections: Number(values.connections) };
  const pairCount = Number(values.pairs);
  for (const name of ['gcc', 'redis-server', 'wrk']) {
    if (!findCommand(name)) throw new Failure(`the benchmark needs ${name} (npm run install-servers)`);
  }
  if (!values.bare && !values['no-build']) {
    await installPackages();
    await build();
  }
  const folder = mkdtempSync(join(tmpdir(), 'koala-bench-'));
  try {
    const binary = join(folder, 'threaded');
    execFileSync('gcc', ['-O2', '-pthread', '-o', binary, join(root, 'test/programs/threaded.c')]);
    const redisPort = await freePort();
    const redis = [
      '--port',
      redisPort,
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      folder,
    ];
    start('redis-server', redis.map(String));
    await until('Redis', () => listening(redisPort));
    const client = connect({ port: redisPort, host: '127.0.0.1' });
    client.end('SET item a-value-of-thirty-two-bytes-long.\r\nQUIT\r\n');
    await new Promise((resolve) => client.resume().once('close', resolve));

    const idle = processors();
    await sleep(1000);
    const now = processors();
    const busy = 1 - (now.idle - idle.idle) / (now.all - idle.all);
    if (busy > 0.05) {
      const percent = (busy * 100).toFixed(0);
      console.error(
        `warning: something else keeps ${percent} % of the processors busy; the figures will be off`,
      );
    }

    const pairs = [];
    const wrong = [];
    for (let index = 0; index < pairCount; index += 1) {
      const kinds = values.bare ? ['bare'] : ['bare', 'koala'];
      const pair = await measure(binary, redisPort, kinds, settings);
      for (const kind of kinds) {
        const { throughput, p50, p99, program } = pair[kind];
        console.error(
          `pair ${index + 1} of ${pairCount}, ${kind === 'koala' ? 'recorded' : 'bare    '}: ${throughput.toFixed(0)} requests/s, ` +
            `p50 ${p50.toFixed(0)} µs, p99 ${p99.toFixed(0)} µs, ${program.toFixed(2)} µs of the program's time a request`,
        );
      }
      if (pair.koala) wrong.push(...faults(pair.koala).map((fault) => `pair ${index + 1}: ${fault}`));
      pairs.push(pair);
    }
    if (values.json) console.log(JSON.stringify(pairs));
    else if (!values.bare) {
      console.log(
        `${pairCount} pairs of servers, each loaded for ${settings.seconds} s, a second in turn; ${settings.connections} connections; medians.\n`,
      );
      console.log(`${machine()}\n\n${table(pairs)}`);
    }
    for (const fault of wrong) console.error(`error: ${fault}`);
    return wrong.length === 0 ? 0 : 1;
  } finally {
    for (const child of started) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
