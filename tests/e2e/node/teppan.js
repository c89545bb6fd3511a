// What a program needs to call Teppan from Node: the .proto files, and nothing else of Teppan. Copy it.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const CALL_MS = 10_000;
const STREAM_MS = 60_000;
const ATTEMPTS = 20;
const PAUSE_MS = 500;

// By the names that this program calls them: the server, the file, the service.
const SERVICES = {
  tokens: ["identity", "teppan/identity/v1/tokens.proto", "teppan.identity.v1.TokensService"],
  stations: ["identity", "teppan/identity/v1/stations.proto", "teppan.identity.v1.StationsService"],
  customers: ["bookings", "teppan/bookings/v1/customers.proto", "teppan.bookings.v1.CustomersService"],
  bookings: ["bookings", "teppan/bookings/v1/bookings.proto", "teppan.bookings.v1.BookingsService"],
};
const ERRORS = ["google/rpc/status.proto", "google/rpc/error_details.proto"];

// The call or its answer was lost on the way: nobody knows whether it had an effect. A stopping server may say CANCELLED.
const LOST = new Set([grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED]);
// So was this, where no service gives a reason: a connection was reset, or a proxy lost what stands behind it.
const RESET = new Set([grpc.status.INTERNAL, grpc.status.UNKNOWN]);

const LOADING = {
  keepCase: true, // `station_id`, as in the protos
  longs: String, // 64 bits are more than a number of JavaScript holds
  enums: String, // "BOOKING_STATE_PENDING"
  defaults: true, // what is absent on the wire reads as "", 0 or []
};

/** A connection to Teppan's three servers. */
export class Teppan {
  #protos;
  #clients = {};
  #metadata = new grpc.Metadata();

  /** `stack`: host:port by server, and `ca`, a PEM file, where they speak TLS; `include`: the folders with the protos. */
  constructor(stack, { include, serviceConfig }) {
    const files = [...Object.values(SERVICES).map(([, file]) => file), ...ERRORS];
    this.#protos = protoLoader.loadSync(files, { ...LOADING, includeDirs: include });
    const credentials = stack.ca ? grpc.credentials.createSsl(readFileSync(stack.ca)) : grpc.credentials.createInsecure();
    // Says, for each method, whether it may be sent again by itself; gRPC does that where it has such a config.
    const options = serviceConfig ? { "grpc.service_config": serviceConfig, "grpc.service_config_disable_resolution": 1 } : {};
    for (const [name, [server, , service]] of Object.entries(SERVICES)) {
      const Client = grpc.makeClientConstructor(this.#protos[service], service);
      this.#clients[name] = new Client(stack[server], credentials, options);
    }
  }

  /** Sends this access token with every call from now on. */
  authorize(token) {
    this.#metadata.set("authorization", `Bearer ${token}`);
  }

  /** One call, of "bookings.CreateBooking", say. `began` is given the call as it begins, to cancel it by. */
  once(method, request, { metadata = this.#metadata, began = () => {} } = {}) {
    const [name, rpc] = method.split(".");
    return new Promise((resolve, reject) => {
      const done = (error, answer) => (error ? reject(error) : resolve(answer));
      began(this.#clients[name][rpc](request, metadata, { deadline: Date.now() + CALL_MS }, done));
    });
  }

  /** The answer. The same request is sent again where that may help: its `request_id` makes it one effect. */
  async call(method, request) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.once(method, request);
      } catch (error) {
        const wait = this.refusalOf(error).retry_ms ?? (this.#lost(error) ? PAUSE_MS : undefined);
        if (wait === undefined || attempt === ATTEMPTS) throw error;
        await sleep(wait);
      }
    }
  }

  /** A stream of messages. */
  stream(method, request) {
    const [name, rpc] = method.split(".");
    const stream = this.#clients[name][rpc](request, this.#metadata, { deadline: Date.now() + STREAM_MS });
    stream.on("error", () => {}); // who reads it gets the error; but Node ends the program where nobody reads any more
    return stream;
  }

  /**
   * Every page of a list, though its streams break. `open` begins the stream of a request.
   * Only a page without a token is the last one: a stream that ends without it was broken, however orderly it ended.
   */
  async *pages(method, request, open = (from) => this.stream(method, from)) {
    let token = "";
    for (let failures = 0; failures < ATTEMPTS; failures += 1) {
      const stream = open({ ...request, page_token: token });
      try {
        for await (const page of stream) {
          yield page;
          token = page.next_page_token; // of the last page that was used, and not of the last that arrived
          if (!token) return;
          failures = 0;
        }
      } catch (error) {
        if (!this.#lost(error)) throw error;
      } finally {
        stream.cancel(); // else it goes on where its reader has stopped early
      }
      await sleep(PAUSE_MS);
    }
    throw new Error(`the list broke ${ATTEMPTS} times at the same place`);
  }

  #lost(error) {
    return LOST.has(error.code) || (RESET.has(error.code) && !this.refusalOf(error).reason);
  }

  /** Why a call was refused: its code, and what `google.rpc.Status` in the trailing metadata says besides. */
  refusalOf(error) {
    const refusal = { code: grpc.status[error.code], message: error.details };
    const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
    for (const { type_url, value } of packed ? this.#protos["google.rpc.Status"].deserialize(packed).details : []) {
      const type = type_url.slice(type_url.lastIndexOf("/") + 1); // "type.googleapis.com/google.rpc.ErrorInfo"
      const detail = this.#protos[type]?.deserialize(value); // a type that is not known says nothing to this program
      if (type === "google.rpc.ErrorInfo") Object.assign(refusal, detail); // reason, domain, metadata
      if (type === "google.rpc.BadRequest") refusal.fields = detail.field_violations;
      if (type === "google.rpc.RetryInfo") refusal.retry_ms = milliseconds(detail.retry_delay);
    }
    return refusal;
  }

  /** Ends the connections: without them, nothing keeps the program alive. */
  close() {
    for (const client of Object.values(this.#clients)) client.close();
  }
}

function milliseconds({ seconds, nanos }) {
  return Number(seconds) * 1e3 + nanos / 1e6;
}
