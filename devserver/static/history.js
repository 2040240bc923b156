// The past: what `GET /watch` would have sent at an earlier moment, from what the page knows now.

// Only the promises that `isShown` accepts are in it.
export function eventAt(model, time, isShown = () => true) {
  const event = { now: time, startedOn: model.startedOn, leftOut: model.leftOut, promises: [], tasks: [], attempts: [], callbacks: [] };
  for (const promise of model.promises.values()) {
    if (promise.createdOn > time || !isShown(promise)) continue;
    event.promises.push(promiseAt(promise, time));
    for (const task of promise.tasks.values()) {
      if (task.createdOn > time) continue;
      const lost = promise.lost.filter((it) => it.task === task.sortId);
      event.attempts.push(...lost.filter(({ endedOn }) => endedOn <= time));
      event.tasks.push(taskAt(task, lost, time));
    }
    if (!(promise.completedOn <= time)) addWait(event, model, promise, time);
  }
  event.promises.sort((a, b) => a.sortId - b.sortId);
  event.events = model.processes.events.filter(({ createdOn }) => createdOn <= time);
  const connected = new Map();
  for (const { type, processId, group } of event.events) {
    if (type === "connected") connected.set(processId, { id: processId, group, isSilent: false });
    if (type === "disconnected") connected.delete(processId);
  }
  event.processes = [...connected.values()];
  return event;
}

function promiseAt(promise, time) {
  const { sortId, id, parent, func, createdOn } = promise;
  if (!(promise.completedOn <= time)) return { sortId, id, parent, func, createdOn, state: "PENDING" };
  const { state, completedOn, value, size } = promise;
  return { sortId, id, parent, func, createdOn, state, completedOn, value, size };
}

// A task as it was: with the attempt of that time, which may have been lost since.
function taskAt(task, lost, time) {
  const attempt = lost.find(({ endedOn }) => endedOn > time) ?? task;
  const until = (moment) => (moment <= time ? moment : undefined);
  const [sentOn, claimedOn] = [until(attempt.sentOn), until(attempt.claimedOn)];
  const completedOn = until(task.completedOn);
  const isOut = sentOn !== undefined || claimedOn !== undefined;
  const { sortId, type, rootPromiseId, leafPromiseId, isTimer, createdOn } = task;
  return {
    sortId, type, rootPromiseId, leafPromiseId, isTimer, createdOn, sentOn, claimedOn, completedOn,
    processId: isOut ? attempt.processId : undefined,
    state: completedOn !== undefined ? "COMPLETED" : claimedOn !== undefined ? "CLAIMED" : isOut ? "ENQUEUED" : "INIT",
  };
}

// What a call waited for then: what resumed it next, or what it still waits for now.
function addWait(event, model, promise, time) {
  const attempts = model.attempts(promise);
  const last = attempts.findLast(({ claimedOn }) => claimedOn <= time);
  if (!last || last.endedOn === undefined || last.endedOn > time) return;
  const next = attempts.find(({ availableOn, leaf }) => availableOn > time && leaf !== undefined);
  const timer = next ? next.isTimer && { id: next.leaf, timeout: next.availableOn } : [...promise.timers.values()][0];
  if (timer) {
    event.promises.push({
      sortId: Number.MAX_SAFE_INTEGER, id: timer.id, parent: promise.id, state: "PENDING", createdOn: last.endedOn, timeout: timer.timeout,
    });
  } else {
    const ids = next ? [next.leaf] : model.waits(promise).ids;
    for (const promiseId of ids) event.callbacks.push({ promiseId, rootPromiseId: promise.id, createdOn: last.endedOn });
  }
}
