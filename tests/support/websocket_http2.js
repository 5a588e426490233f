// A WebSocket client over HTTP/2: Node's own HTTP/2 (extended CONNECT, RFC 8441), frames by hand.
//
//   node websocket_http2.js URL CA|- SOCKETS SIZE...
//
// Opens SOCKETS streams of one connection. Each sends a message of every SIZE, waits until it has come
// back, pings, and closes with 1000. Prints what it saw as JSON.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');

const [url, ca, sockets, ...sizes] = process.argv.slice(2);
const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

function frame(opcode, payload) {
  const size = payload.length;
  const length = size < 126 ? Buffer.from([size]) : Buffer.alloc(size < 65536 ? 3 : 9);
  if (size >= 65536) {
    length[0] = 127;
    length.writeBigUInt64BE(BigInt(size), 1);
  } else if (size >= 126) {
    length[0] = 126;
    length.writeUInt16BE(size, 1);
  }
  length[0] |= 0x80;
  const mask = crypto.randomBytes(4);
  const masked = Buffer.from(payload);
  for (let i = 0; i < size; i++) masked[i] ^= mask[i & 3];
  return Buffer.concat([Buffer.from([0x80 | opcode]), length, mask, masked]);
}

class FrameReader {
  constructor(stream) {
    this.chunks = stream[Symbol.asyncIterator]();
    this.buffer = Buffer.alloc(0);
  }

  async take(count) {
    const parts = [this.buffer];
    let size = this.buffer.length;
    while (size < count) {
      const next = await this.chunks.next();
      if (next.done) throw new Error(`the stream ended ${count - size} bytes early`);
      parts.push(next.value);
      size += next.value.length;
    }
    const all = Buffer.concat(parts);
    this.buffer = all.subarray(count);
    return all.subarray(0, count);
  }

  async next() {
    const [first, second] = await this.take(2);
    if (second & 0x80) throw new Error('a server does not mask');
    let size = second;
    if (second === 126) size = (await this.take(2)).readUInt16BE();
    if (second === 127) size = Number((await this.take(8)).readBigUInt64BE());
    return {opcode: first & 15, final: first >= 0x80, payload: await this.take(size)};
  }

  async message() {
    const parts = [];
    for (;;) {
      const {opcode, final, payload} = await this.next();
      parts.push(payload);
      if (final) return {opcode, payload: Buffer.concat(parts)};
    }
  }
}

async function talk(client) {
  const stream = client.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':authority': 'a.test', ':path': '/chat',
    ':scheme': new URL(url).protocol.slice(0, -1),
    'sec-websocket-version': '13', 'sec-websocket-protocol': 'chat', 'origin': 'http://a.test'});
  const head = await new Promise((resolve, reject) => stream.once('response', resolve).once('error', reject));
  const seen = {status: head[':status'], protocol: head['sec-websocket-protocol'], echoed: []};
  if (seen.status !== 200) return stream.close(), seen;
  const reader = new FrameReader(stream);
  for (const size of sizes) {
    const payload = crypto.randomBytes(Number(size));
    stream.write(frame(BINARY, payload));
    const answer = await reader.message();
    if (answer.opcode !== BINARY || !answer.payload.equals(payload)) throw new Error(`${size} bytes came back changed`);
    seen.echoed.push(Number(size));
  }
  stream.write(frame(PING, Buffer.from('alive')));
  const pong = await reader.next();
  seen.pong = pong.opcode === PONG && pong.payload.toString() === 'alive';
  stream.write(frame(CLOSE, Buffer.from([0x03, 0xe8])));
  const close = await reader.next();
  seen.close = close.opcode === CLOSE && close.payload.readUInt16BE();
  stream.end();
  await reader.take(1).then(() => { throw new Error('bytes behind the Close'); }, () => {});
  return seen;
}

async function main() {
  const client = http2.connect(url, ca === '-' ? {} : {ca: fs.readFileSync(ca), servername: 'a.test'});
  const settings = await new Promise(
    (resolve, reject) => client.once('remoteSettings', resolve).once('error', reject));
  const seen = await Promise.all(Array.from({length: Number(sockets)}, () => talk(client)));
  console.log(JSON.stringify({offered: settings.enableConnectProtocol, sockets: seen}));
  client.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
