// Another backend: it logs in, makes a station and a customer, books, lists what it booked, and reads why it is refused.
//
//   npm ci && node book.js stack.json --include <folder of protos> [--include ...] [--service-config <file>]
//
// It prints one line of JSON: what it saw. It fails where that is not what the contract promises.

import assert from "node:assert/strict";
import { randomInt, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import { Teppan } from "./teppan.js";

const LIMIT_MS = 90_000;
const FIRST_DAY = 10; // days ahead: a booking is made at least 48 hours before its start
const DAYS = 8;
const HOURS = [12, 15, 18, 21]; // the slots of a new station, every day
const PLACES = 2; // in each of them
const PAGE_SIZE = 2;
const ENDS_AFTER = 3; // pages: there the first stream ends, in order but too early
const CUT_AFTER = 6; // pages: there the second stream is cut; far from the end, which may be read ahead by 16 pages
const LOGINS_AT_ONCE = 64; // a process of identity takes 18; behind a balancer there are several

async function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { include: { type: "string", multiple: true, default: [] }, "service-config": { type: "string" } },
  });
  const stack = JSON.parse(readFileSync(positionals[0], "utf8"));
  const config = values["service-config"];
  const teppan = new Teppan(stack, { include: values.include, serviceConfig: config && readFileSync(config, "utf8") });
  try {
    console.log(JSON.stringify(await story(teppan, stack)));
  } finally {
    teppan.close();
  }
}

async function story(teppan, stack) {
  const credentials = { email: stack.email, password: readFileSync(stack.password_file, "utf8").trim() };
  // Login is never repeated by itself; everything else may be.
  const { access_token } = await teppan.once("tokens.Login", credentials);
  teppan.authorize(access_token);

  const station = await newStation(teppan);
  const customer = await newCustomer(teppan, station);
  const requests = bookingsOf(station, customer);
  const made = [];
  for (const request of requests) made.push((await teppan.call("bookings.CreateBooking", request)).booking);

  return {
    station_id: station.station_id,
    made: made.map((booking) => booking.booking_id),
    repeated: await repeated(teppan, requests[0], made[0]),
    ...(await listed(teppan, station, made)),
    refusals: {
      reused: await refused(teppan, "REQUEST_ID_REUSED", "bookings.CreateBooking", { ...requests[0], guests: { adults: 3 } }),
      malformed: await malformed(teppan, station),
      full: await refused(teppan, "SLOT_FULL", "bookings.CreateBooking", { ...requests[0], request_id: randomUUID() }),
      nobody: await refused(teppan, "TOKEN_MISSING", "bookings.CreateBooking", requests[0], { metadata: new grpc.Metadata() }),
      busy: await busy(teppan, credentials),
    },
  };
}

async function newStation(teppan) {
  const code = Array.from({ length: 8 }, () => String.fromCharCode(65 + randomInt(26))).join("");
  const request = { request_id: randomUUID(), code, name: "Berlin Mitte", time_zone: "Europe/Berlin", currency_code: "EUR" };
  const { station } = await teppan.call("stations.CreateStation", request);
  assert.equal(station.code, code);
  assert.equal(station.state, "STATION_STATE_ACTIVE");
  return station;
}

async function newCustomer(teppan, { station_id }) {
  const request = { request_id: randomUUID(), station_id, name: "Bo Example", email: "bo@example.com" };
  const { customer } = await teppan.call("customers.CreateCustomer", request);
  assert.equal(customer.station_id, station_id);
  return customer;
}

/** A request for each place of each slot on some days: two bookings each begin at the same time. The latest come first. */
function bookingsOf({ station_id }, { customer_id }) {
  const now = Date.now();
  return Array.from({ length: DAYS * HOURS.length * PLACES }, (_, n) => {
    const slot = Math.floor(n / PLACES);
    const day = new Date(now + (FIRST_DAY + Math.floor(slot / HOURS.length)) * 86_400_000);
    return {
      request_id: randomUUID(),
      station_id,
      customer_id,
      slot_date: { year: day.getUTCFullYear(), month: day.getUTCMonth() + 1, day: day.getUTCDate() },
      slot_start: { hours: HOURS[slot % HOURS.length] },
      guests: { adults: 10 },
    };
  }).reverse();
}

/** The same request once more: the same booking. */
async function repeated(teppan, request, first) {
  const { booking } = await teppan.call("bookings.CreateBooking", request);
  assert.deepEqual(booking, first);
  return booking.booking_id;
}

/** The list by streams that break: each booking once, in the order of the unbroken list. */
async function listed(teppan, { station_id }, made) {
  const request = { station_id, order_by: "BOOKING_ORDER_START_TIME_ASC", page_size: PAGE_SIZE };
  const bookings = [];
  const streams = []; // the pages that each of them gave
  let stream;
  const open = (from) => {
    stream = teppan.stream("bookings.ListBookings", streams.length ? from : { ...from, page_limit: ENDS_AFTER });
    streams.push(0);
    return stream;
  };
  for await (const page of teppan.pages("bookings.ListBookings", request, open)) {
    bookings.push(...page.bookings);
    streams[streams.length - 1] += 1;
    if (bookings.length === CUT_AFTER * PAGE_SIZE) stream.cancel();
  }
  const ids = bookings.map((booking) => booking.booking_id);
  const starts = bookings.map((booking) => Number(booking.start_time.seconds));
  assert.ok(streams.length >= 3, `the list was not broken twice: ${streams}`);
  assert.deepEqual([...ids].sort(), made.map((booking) => booking.booking_id).sort());
  assert.deepEqual(starts, [...starts].sort((one, other) => one - other));
  assert.deepEqual(ids, await unbroken(teppan, { ...request, page_size: 1000 }));
  return { listed: ids, streams };
}

async function unbroken(teppan, request) {
  const ids = [];
  for await (const { bookings } of teppan.pages("bookings.ListBookings", request)) {
    ids.push(...bookings.map((booking) => booking.booking_id));
  }
  return ids;
}

/** What a call is told that is refused for this reason. Any other outcome is an error. */
async function refused(teppan, reason, method, request, options) {
  const refusal = await teppan.once(method, request, options).then(() => ({}), (error) => teppan.refusalOf(error));
  assert.equal(refusal.reason, reason, `${method} is answered with ${JSON.stringify(refusal)}`);
  return refusal;
}

/** Four fields are bad, and the guests twice, as so many adults and as so many in all: everything is named at once. */
async function malformed(teppan, { station_id }) {
  const request = { request_id: "one", station_id, customer_id: "Bo", guests: { adults: 60 } };
  const refusal = await refused(teppan, "FIELDS_INVALID", "bookings.CreateBooking", request);
  const fields = refusal.fields.map(({ field }) => field).sort();
  assert.deepEqual(fields, ["customer_id", "guests", "guests.adults", "request_id", "slot_date", "slot_start"]);
  return refusal;
}

/** More logins at once than are checked: one is refused, and told when to try again. By then the others are taken back. */
async function busy(teppan, credentials) {
  const calls = [];
  const login = () => refused(teppan, "LOGIN_BUSY", "tokens.Login", credentials, { began: (call) => calls.push(call) });
  const refusal = await Promise.any(Array.from({ length: LOGINS_AT_ONCE }, login));
  for (const call of calls) call.cancel();
  assert.ok(refusal.retry_ms > 0);
  await sleep(refusal.retry_ms);
  await teppan.once("tokens.Login", credentials);
  return refusal;
}

// A program that hangs is worse than one that fails. The timer itself keeps nothing alive.
setTimeout(() => {
  console.error(`not done after ${LIMIT_MS} ms`);
  process.exit(1);
}, LIMIT_MS).unref();
await main();
