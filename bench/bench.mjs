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

/** One run of the server, bare or recorded. */
async function measure(binary, redisPort, settings, koala) {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'koala-bench-'));
  const recording = join(folder, 'recording');
  try {
    const program = [binary, String(port), String(redisPort)];
    const server = koala
      ? start(process.execPath, [
          join(root, 'dist/cli/main.js'),
          'record',
          '--to',
          recording,
          '--',
          ...program,
        ])
      : start(program[0], program.slice(1));
    await until('the server', async () => {
      if (server.child.exitCode !== null)
        throw new Failure(`the server ended:\n${server.stdout}${server.stderr}`);
      return listening(port);
    });
    const [pid] = processes((command) => command[0] === binary && command[1] === String(port));
    const [agent] = koala
      ? processes(([name, ...args]) => name.endsWith('koala-agent') && args.includes(recording))
      : [];
    if (koala && !agent) throw new Failure('there is no koala-agent for the recording');

    await wrk(port, { ...settings, seconds: 1 });
    const before = {
      program: processorTime(pid),
      agent: agent ? processorTime(agent) : 0,
      all: processors(),
    };
    const load = wrk(port, settings);
    await sleep(settings.seconds * 800);
    const use = memory(pid);
    const agentUse = agent ? memory(agent) : undefined;
    const result = await load;
    const busy = processors();
    const after = { program: processorTime(pid), agent: agent ? processorTime(agent) : 0 };

    process.kill(pid, 'SIGTERM');
    const code = await server.ended;
    const served = Number(server.stdout.match(/^served (\d+)$/m)?.[1] ?? NaN);
    if (code !== 0 || Number.isNaN(served))
      throw new Failure(`the server ended with ${code}: ${server.stderr}`);
    if (agent)
      await until('the end of the agent', () => processes(() => true).every((other) => other !== agent));
    return {
      ...result,
      ...use,
      program: (after.program - before.program) / result.requests,
      agent: (after.agent - before.agent) / result.requests,
      agentRss: agentUse?.rss,
      busy: 1 - (busy.idle - before.all.idle) / (busy.all - before.all.all),
      served,
      ...(koala ? { recording: await recorded(recording) } : {}),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
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
  lines.push(
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
      pairs: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '5' },
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
      const pair = {};
      // Every other pair in the other order: neither side always comes second.
      for (const kind of index % 2 === 0 ? ['bare', 'koala'] : ['koala', 'bare']) {
        if (values.bare && kind === 'koala') continue;
        pair[kind] = await measure(binary, redisPort, settings, kind === 'koala');
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
        `${pairCount} pairs of ${settings.seconds} s, ${settings.connections} connections; medians.\n`,
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
