/** An agent that answers what a test tells it to: for what a real one does only when something is wrong. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { encodeSession } from '../recording/codec.ts';
import type { Session } from '../recording/model.ts';
import { temporary } from './sessions.ts';

/** What the fake agent does. */
export interface FakeAgent {
  /** What it writes to stderr in place of being ready. */
  fails?: string;
  listeners?: string[];
  processes?: number;
  lost?: number;
  gaps?: number;
  notCovered?: { Program: string; Reason: string }[];
  sessions?: number;
  bootSessions?: number;
  /** What it answers to the sessions that it is sent, in order; it hangs where there is none. */
  replies?: (Session | { status: number; Error: string; after?: number })[];
}

const PROGRAM = String.raw`#!/usr/bin/env node
const { createServer } = require('node:http');
const { appendFileSync, readFileSync, rmSync } = require('node:fs');
const { join } = require('node:path');
const plan = JSON.parse(readFileSync(join(__dirname, 'plan.json'), 'utf8'));
const at = (name) => process.argv[process.argv.indexOf(name) + 1];
const runtime = at('--runtime-dir');
const log = (line) => appendFileSync(join(__dirname, 'log'), line + '\n');
log(process.argv[2] + ' ' + JSON.stringify(process.env.KOALA_REPLAYING_MATCH_STRATEGY ?? ''));
if (plan.fails !== undefined) {
  process.stderr.write('koala-agent: ' + plan.fails + '\nmore of it\n');
  process.exit(2);
}
let done = 0;
const status = () => JSON.stringify({
  Mode: process.argv[2], Listeners: plan.listeners ?? [], Processes: plan.processes ?? 1, Sessions: plan.sessions ?? 0,
  BootSessions: plan.bootSessions ?? 0, Events: 0, Lost: { Events: plan.lost ?? 0, Bytes: 0 }, Unresolved: [], Pids: [],
  Gaps: plan.gaps ?? 0, NotCovered: plan.notCovered ?? [],
});
createServer((request, response) => {
  request.resume().on('end', () => {
    const path = request.url.split('?')[0];
    log(request.method + ' ' + path);
    if (path === '/cbor') {
      const reply = plan.replies[done++];
      if (reply === undefined) return;
      if (reply.cbor !== undefined) return response.end(Buffer.from(reply.cbor, 'base64'));
      setTimeout(() => response.writeHead(reply.status).end(JSON.stringify({ Error: reply.Error })), reply.after ?? 0);
      return;
    }
    response.end(status(), () => {
      if (path !== '/finish') return;
      rmSync(runtime, { recursive: true, force: true });
      process.exit(0);
    });
  });
}).listen(join(runtime, 'control.sock'), () => {
  process.stdout.write(JSON.stringify({ Ready: true, ControlSocket: join(runtime, 'control.sock') }) + '\n');
});
`;

/** Puts a fake agent in the place of the real one; gives the file that tells what it was asked. */
export async function useFakeAgent(t: TestContext, plan: FakeAgent): Promise<string> {
  const directory = await temporary(t);
  const replies = (plan.replies ?? []).map((reply) =>
    'status' in reply ? reply : { cbor: Buffer.from(encodeSession(reply)).toString('base64') },
  );
  await writeFile(join(directory, 'plan.json'), JSON.stringify({ ...plan, replies }));
  const agent = join(directory, 'koala-agent');
  await writeFile(agent, PROGRAM);
  await chmod(agent, 0o755);
  // ld.so passes over an empty library.
  await writeFile(join(directory, 'libkoala.so'), '');
  const before = process.env['KOALA_NATIVE_DIR'];
  process.env['KOALA_NATIVE_DIR'] = directory;
  t.after(() => {
    if (before === undefined) delete process.env['KOALA_NATIVE_DIR'];
    else process.env['KOALA_NATIVE_DIR'] = before;
  });
  return join(directory, 'log');
}
