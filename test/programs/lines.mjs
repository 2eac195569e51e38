// Servers that know their client by its connection: HTTP with an upgrade, and a protocol of lines that begins with a name.
// node lines.mjs HTTP-PORT LINE-PORT [GREETING]
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';

const [httpPort, linePort, greeting = 'hello'] = process.argv.slice(2);

/** Answers each piece with its number on the connection. */
function talk(socket) {
  let pieces = 0;
  // A client that goes away without a word is no reason to end: one that resets is.
  socket.on('data', (piece) => {
    pieces += 1;
    socket.write(`${pieces}: ${greeting}, ${piece}`);
    if (String(piece) === 'bye') socket.end();
  });
}

const http = createHttpServer((request, response) => response.end(`${request.url}\n`));
http.on('clientError', (_, socket) => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'));
http.on('upgrade', (_, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: talk\r\nConnection: Upgrade\r\n\r\n');
  talk(socket);
});
http.listen(Number(httpPort), '127.0.0.1');

const lines = createServer((socket) => {
  let name = '';
  socket.on('data', (line) => {
    if (name === '') {
      name = String(line).trim();
      socket.write(`welcome ${name}\n`);
    } else {
      socket.write(`${greeting} ${name}, ${line}`);
    }
  });
});
lines.listen(Number(linePort), '127.0.0.1');

// Not in the middle of a call, as the signal itself would.
process.on('SIGTERM', () => process.exit(0));
