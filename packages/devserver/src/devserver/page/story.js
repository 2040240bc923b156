// What happened in a run, in words: the sentence at the top of the page.

import { count, isPending, kindOf, listed, seconds, shortId, shortValue, stateName } from "./words.js";

const MOST_INCIDENTS = 3; // that the sentence tells, the newest ones
const MOST_VALUE = 24; // characters of a value
const LATE = 0.6; // of a lease: without a heartbeat for so long, something is wrong
const UNCLAIMED = 1000; // ms after which the page says that a message is not claimed

/** @param {Call} call */
export const nameOf = (call) => shortId(call.id, call.root.id);

/** Whether a worker had to stop in the middle of a call. @param {Attempt} attempt */
export const isLost = ({ outcome }) => outcome === "disconnected" || outcome === "expired";

/** Whether a worker that runs a call has missed a heartbeat. @param {Attempt} attempt @param {number} now */
export function isLate({ claimedOn, endedOn, expiresAt, ttl }, now) {
  return claimedOn !== undefined && endedOn === undefined && expiresAt !== undefined && ttl !== undefined
    && now - (expiresAt - ttl) > LATE * ttl;
}

/** @param {string} words */
const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** Say what happened in a run, in a few sentences. @param {Model} model @param {Runs} runs @param {Run} run */
export function sentence(model, runs, run) {
  const { incidents, calls } = runs.story(run);
  const parts = incidents.slice(-MOST_INCIDENTS).map((it) => tell(it, model));
  const others = incidents.length - parts.length;
  if (others) parts.unshift(`${count(others, "other worker")} failed earlier.`);
  for (const { from, to } of runs.outages({ from: run.from, to: run.end })) {
    parts.push(`The server was down for ${seconds(to - from)}. All stored calls were still there.`);
  }
  const doubts = new Map();
  for (const { call, attempt } of model.openAttempts()) {
    const words = call.root.run === run && doubt(attempt, model, nameOf(call));
    if (words) doubts.set(attempt.processId, `${capital(model.processes.named(attempt.processId ?? "").name)}: ${words}.`);
  }
  parts.push(...doubts.values(), ...paused(model, run), ...missing(model, runs, run));
  parts.push(run.roots.length > 1 ? total(run) : outcome(run.roots[0], calls, model));
  const refs = calls.flatMap((call) => [...call.refs].flatMap((id) => model.promises.get(id) ?? []));
  const reused = [...new Set([...calls, ...refs])].filter(({ uses }) => uses.length);
  if (reused.length) parts.push(`The stored ${reused.length > 1 ? "results" : "result"} of ${listed(reused.map(nameOf))} ${reused.length > 1 ? "were" : "was"} used again.`);
  return parts.join(" ");
}

/**
 * What is known about a process that may have failed: it has not sent a heartbeat, or has not
 * claimed a task. Undefined if all is well.
 * @param {Attempt} attempt @param {Model} model @param {string} name of the call
 */
export function doubt(attempt, { now }, name) {
  const { claimedOn, sentOn, expiresAt, ttl = 0 } = attempt;
  if (expiresAt === undefined) return undefined;
  const left = expiresAt > now ? `in ${seconds(expiresAt - now)}` : "now";
  if (isLate(attempt, now)) return `no heartbeat for ${seconds(now - (expiresAt - ttl))}; its lease on ${name} ends ${left}`;
  if (claimedOn !== undefined || sentOn === undefined || now - sentOn < UNCLAIMED) return undefined;
  return `has not claimed ${name} for ${seconds(now - sentOn)}; the server sends it again ${left}`;
}

/** What happened to a worker. @param {Incident} incident */
export function verb({ kind, losses }) {
  if (kind !== "expired") return kind === "killed" ? "was killed" : "disconnected";
  return losses.some(({ attempt }) => attempt.claimedOn !== undefined) ? "stopped answering" : "did not answer";
}

// "Worker 3 was killed. Only 7 was running; worker 1 restarted it after 18 ms. 6 stored calls
// noticed nothing."
/** @param {Incident} incident @param {Model} model */
function tell(incident, model) {
  const { kind, process, losses, stored } = incident;
  const ran = losses.filter(({ attempt }) => attempt.claimedOn !== undefined);
  const sent = losses.filter(({ attempt }) => attempt.claimedOn === undefined);
  const parts = [`${capital(process.name)} ${verb(incident)}`];
  if (ran.length) {
    const names = listed(ran.map(({ call }) => nameOf(call)));
    const lost = kind === "expired" ? `Its lease on ${names} ended` : `Only ${names} ${ran.length > 1 ? "were" : "was"} running`;
    parts.push(`${lost}; ${again(ran, incident, model)}`);
  } else if (!sent.length) {
    parts.push("It was not running a call");
  }
  if (sent.length) parts.push(`It had not claimed ${listed(sent.map(({ call }) => nameOf(call)))}; ${again(sent, incident, model)}`);
  if (stored) parts.push(`${count(stored, "stored call")} noticed nothing`);
  return `${parts.join(". ")}.`;
}

/** Which worker runs what was lost. @param {Loss[]} losses @param {Incident} incident @param {Model} model */
function again(losses, { at }, model) {
  const steps = losses.flatMap((loss) => loss.again ?? []);
  const isOne = losses.length === 1;
  if (steps.length === losses.length) {
    const names = listed([...new Set(steps.map(({ process }) => process.name))]);
    return `${names} ${losses[0].attempt.claimedOn === undefined ? "started" : "restarted"} ${isOne ? "it" : "them"} after ${seconds(Math.max(...steps.map(({ from }) => from)) - at)}`;
  }
  const waits = losses.some(({ call }) => isPending(call) && model.openAttempt(call)?.processId === undefined);
  if (waits) return isOne ? "it waits for a worker" : "they wait for a worker";
  return `the server sent ${isOne ? "it" : "them"} to another worker`;
}

// The calls that have ended their workers, and that the server sends again only after a pause.
/** @param {Model} model @param {Run} run */
function paused(model, run) {
  const calls = model.openAttempts().filter(({ call, attempt }) => call.root.run === run && attempt.deaths && attempt.sentOn === undefined && (attempt.expiresAt ?? 0) > model.now);
  return calls.map(({ call, attempt }) => `${call.id} has ended ${attempt.deaths} workers; next try in ${seconds((attempt.expiresAt ?? 0) - model.now)}. To give it up, cancel it: the server's log has the command.`);
}

// If the run needs a worker and none is connected: of which group, and how to start one.
/** @param {Model} model @param {Runs} runs @param {Run} run */
function missing(model, runs, run) {
  const waiting = model.openAttempts().find(({ call, attempt }) => call.root.run === run && attempt.recv);
  const last = [...runs.story(run).steps.values()].flat().at(-1)?.process;
  const group = /@([^/"]+)/.exec(waiting?.attempt.recv ?? "")?.[1] ?? last?.group;
  if (!run.isPending || group === undefined) return []; // or the calls are not for workers
  // After a start of the server, workers take some seconds to reconnect.
  if ([...model.processes].some((it) => it.group === group && model.processes.goneOn(it, model.now) === undefined)) return [];
  const how = group === "factorial-worker" ? ": uv run python factorial_worker.py" : "";
  return [`No worker of the group ${group} is connected. The calls stay stored until you start one${how}.`];
}

/** The outcomes of a run's roots: "20 calls: 12 resolved, 1 rejected, 7 pending." @param {Run} run */
function total({ roots }) {
  const kinds = Map.groupBy(roots, (root) => String(kindOf(root)));
  const parts = ["resolved", "rejected", "pending"].flatMap((kind) => (kinds.has(kind) ? `${kinds.get(kind)?.length} ${kind}` : []));
  return `${count(roots.length, "call")}: ${parts.join(", ")}.`;
}

/** @param {Call} root @param {Call[]} calls @param {Model} model */
function outcome(root, calls, model) {
  const took = `after ${seconds((root.completedOn ?? model.now) - root.createdOn)}`;
  const finished = calls.filter((call) => !isPending(call)).length.toLocaleString("en");
  if (isPending(root)) return `${root.id} is pending ${took}: ${count(calls.length, "call")} created, ${finished} finished.`;
  const value = shortValue(root);
  if (root.state !== "RESOLVED" || !value) return `${root.id} was ${stateName(root)} ${took}.`;
  return `${root.id} = ${value.length > MOST_VALUE ? `${value.slice(0, MOST_VALUE)}…` : value} ${took}.`;
}
