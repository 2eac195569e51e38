// A client that knows exactly which bytes it sent and received.
import { type Socket, connect } from 'node:net';
import { once } from 'node:events';

/** A request and its response, to the byte, as latin1. */
export interface Exchange {
  request: string;
  response: string;
}

/** One connection to a server on loopback. */
export class Client {
  #socket: Socket;
  #received = '';
  #over = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.toString('latin1');
      this.#wake();
    });
    const over = (): void => {
      this.#over = true;
      this.#wake();
    };
    socket.on('close', over);
    socket.on('end', over);
    socket.on('error', over);
  }

  static async connect(port: number): Promise<Client> {
    const socket = connect({ port, host: '127.0.0.1' });
    await once(socket, 'connect');
    return new Client(socket);
  }

  /** Sends bytes and waits for as many messages as `complete` takes for whole. */
  async exchange(request: string, complete: (received: string) => boolean): Promise<Exchange> {
    this.#received = '';
    this.#socket.write(Buffer.from(request, 'latin1'));
    while (!complete(this.#received)) {
      if (this.#over)
        throw new Error(`the server closed the connection; it had sent ${JSON.stringify(this.#received)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return { request, response: this.#received };
  }

  /** An HTTP request on this connection, which stays open. */
  async http(method: string, path: string, body = ''): Promise<Exchange> {
    const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
    const request = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${length}\r\n${body}`;
    return this.exchange(request, isWholeResponse);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Ends the connection as clients do that have no more to ask, and waits until the server has ended it, too. */
  async finish(): Promise<void> {
    this.#socket.end();
    while (!this.#over) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Whether that is a whole HTTP response, by Content-Length or chunks. */
export function isWholeResponse(received: string): boolean {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const head = received.slice(0, end);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (length !== undefined) return received.length >= end + 4 + Number(length);
  return /^transfer-encoding: *chunked/im.test(head) ? received.endsWith('0\r\n\r\n') : true;
}

/** The status and body of a response. */
export function parts(response: string): { status: number; body: string } {
  return { status: Number(response.slice(9, 12)), body: response.slice(response.indexOf('\r\n\r\n') + 4) };
}
