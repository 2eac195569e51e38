// Recordings that no program made: calls of several protocols, and the requests of a later run of the same program, in
// the form of `../shared/matching`. The same seed gives the same recordings.

/** Numbers from 0 to below 1 (mulberry32). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const text = (...parts) => Buffer.from(parts.join(''));
const uint32 = (number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
};
const uint32LittleEndian = (number) => uint32(number).toReversed();

function http(line, headers, body = '') {
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return text(line, ' HTTP/1.1\r\n', ...head, '\r\n', body);
}

function resp(...words) {
  return text(`*${words.length}\r\n`, ...words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`));
}

function mysql(sql) {
  const head = uint32LittleEndian(Buffer.byteLength(sql) + 1);
  return Buffer.concat([head, Buffer.of(3), Buffer.from(sql)]);
}

function postgres(sql) {
  return Buffer.concat([text('Q'), uint32(Buffer.byteLength(sql) + 5), text(sql, '\0')]);
}

/** A strict binary Thrift call with one string and one 64-bit number. */
function thrift(method, sequence, name, number) {
  const field = (type, id, ...value) => Buffer.concat([Buffer.of(type, 0, id), ...value]);
  const counted = (value) => [uint32(Buffer.byteLength(value)), text(value)];
  const message = Buffer.concat([
    Buffer.of(0x80, 1, 0, 1),
    ...counted(method),
    uint32(sequence),
    field(11, 1, ...counted(name)),
    field(10, 2, uint32(0), uint32(number)),
    Buffer.of(0),
  ]);
  return Buffer.concat([uint32(message.length), message]);
}

/** An OP_MSG with a document of strings. */
function mongodb(id, members) {
  const entries = Object.entries(members).map(([name, value]) =>
    Buffer.concat([
      Buffer.of(2),
      text(name, '\0'),
      uint32LittleEndian(Buffer.byteLength(value) + 1),
      text(value, '\0'),
    ]),
  );
  const length = entries.reduce((sum, entry) => sum + entry.length, 5);
  const document = Buffer.concat([uint32LittleEndian(length), ...entries, Buffer.of(0)]);
  const numbers = [document.length + 21, id, 0, 2013, 0].map(uint32LittleEndian);
  return Buffer.concat([...numbers, Buffer.of(0), document]);
}

// Each makes a request from what it asks for (`key`) and from what a program generates anew each time (`fresh`).
const services = [
  {
    peer: '10.0.0.1:8080',
    request: (key, fresh) =>
      http(`GET /v1/users/${key}/orders?page=${key % 7}&fields=id,total`, {
        Host: 'users.svc:8080',
        'User-Agent': 'app/2.0',
        'X-Request-Id': fresh.hex(32),
        traceparent: `00-${fresh.hex(32)}-${fresh.hex(16)}-01`,
        Accept: 'application/json',
      }),
  },
  {
    peer: '10.0.0.2:8080',
    request: (key, fresh) => {
      const order = { user: key, items: [{ sku: `sku-${key}`, count: (key % 5) + 1 }], currency: 'EUR' };
      const body = JSON.stringify({ ...order, at: fresh.time(), nonce: fresh.hex(24) });
      const headers = {
        Host: 'orders.svc',
        'Content-Type': 'application/json',
        'Content-Length': body.length,
      };
      return http('POST /v1/orders', { ...headers, 'X-Request-Id': fresh.hex(32) }, body);
    },
  },
  { peer: '10.0.1.1:6379', request: (key) => resp('HGET', `session:${key}`, 'profile') },
  {
    peer: '10.0.1.1:6379',
    request: (key, fresh) => resp('SETEX', `token:${key}`, '3600', fresh.hex(40)),
  },
  { peer: '10.0.1.2:11211', request: (key) => text(`get item:${key} item:${key + 1}\r\n`) },
  {
    peer: '10.0.2.1:3306',
    request: (key) =>
      mysql(`SELECT id, name, total FROM orders WHERE user_id = ${key} AND state = 'open' LIMIT 20`),
  },
  {
    peer: '10.0.2.1:3306',
    request: (key, fresh) =>
      mysql(
        `INSERT INTO events (user_id, kind, at, trace) VALUES (${key}, 'view', ${fresh.time()}, '${fresh.hex(32)}')`,
      ),
  },
  {
    peer: '10.0.2.2:5432',
    request: (key) => postgres(`SELECT price, stock FROM items WHERE sku = 'sku-${key}'`),
  },
  { peer: '10.0.3.1:9090', request: (key, fresh) => thrift('getPrice', fresh.number(), `sku-${key}`, key) },
  {
    peer: '10.0.4.1:27017',
    request: (key, fresh) => mongodb(fresh.number(), { find: 'carts', cart: `cart-${key}`, $db: 'shop' }),
  },
];

/** One call in twenty of a run was not recorded; one in ten changes places with the next. */
const novel = 0.05;
const swapped = 0.1;

/** Numbers from 0 to below `length`. */
const count = (length) => [...Array(length).keys()];

/** Cases over recordings of `size` calls: so many that there are about 2,000 requests. */
export function synthetic(size, seed) {
  const next = random(seed * 1_000_003 + size);
  const below = (limit) => Math.floor(next() * limit);
  const fresh = {
    number: () => below(2 ** 31),
    time: () => 1_795_000_000 + below(1_000_000),
    hex: (length) =>
      count(length)
        .map(() => below(16).toString(16))
        .join(''),
  };
  const encode = ({ service: { peer, request }, key }) => ({
    peer,
    req: request(key, fresh).toString('base64'),
  });
  const perCase = Math.min(size, 1_000);
  return count(Math.ceil(2_000 / perCase)).map((number) => {
    const asked = count(size).map((index) => ({
      service: services[below(services.length)],
      key: 100_000 + index * 3,
    }));
    const candidates = asked.map(encode);
    const first = below(size - perCase + 1);
    const steps = asked.slice(first, first + perCase).map(({ service, key }, index) => {
      const isNovel = next() < novel;
      const truth = isNovel ? -1 : first + index;
      return { ...encode({ service, key: isNovel ? key + 1 : key }), truth };
    });
    for (let at = 0; at + 1 < steps.length; at += 1) {
      if (next() < swapped) [steps[at], steps[at + 1]] = [steps[at + 1], steps[at]];
    }
    return { name: `${size}-${number}/synthetic`, candidates, steps };
  });
}
