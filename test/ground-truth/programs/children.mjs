// children.mjs SETTINGS: a Node server that answers each request with what children of different kinds have asked the
// HTTP upstream: a program (spawn), a shell (exec) and a Node process that stays (fork). Ends on SIGTERM.
import { exec, execFile, fork } from 'node:child_process';
import { createServer, get } from 'node:http';
import { promisify } from 'node:util';

const settings = JSON.parse(process.argv[2] ?? '{}');
const upstream = `http://127.0.0.1:${settings.upstream}`;

const ask = (path) =>
  new Promise((resolve, reject) => {
    get(`${upstream}${path}`, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve(body));
    }).on('error', reject);
  });

if (process.send) {
  process.on('message', async ({ number, path }) => process.send({ number, body: await ask(path) }));
} else {
  const child = fork(process.argv[1] ?? '', [process.argv[2] ?? '']);
  const waiting = new Map();
  child.on('message', ({ number, body }) => waiting.get(number)(body));
  let numbers = 0;
  const askChild = (path) =>
    new Promise((resolve) => {
      numbers += 1;
      waiting.set(numbers, resolve);
      child.send({ number: numbers, path });
    });
  const run = promisify(execFile);
  const shell = promisify(exec);
  createServer(async (request, response) => {
    const path = request.url ?? '';
    const bodies = await Promise.all([
      run('curl', ['-s', `${upstream}/spawn${path}`]).then(({ stdout }) => stdout),
      shell(`curl -s ${upstream}/exec${path} | tr a-z A-Z`).then(({ stdout }) => stdout),
      askChild(`/fork${path}`),
      ask(path),
    ]);
    const body = bodies.join('\n');
    response.writeHead(200, { 'Content-Length': Buffer.byteLength(body) });
    response.end(body);
  }).listen(settings.port, '127.0.0.1');
  process.on('SIGTERM', () => {
    child.kill();
    child.once('exit', () => process.exit(0));
  });
}
