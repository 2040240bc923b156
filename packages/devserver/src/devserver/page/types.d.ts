// The types of the page's data. All times are ms since the epoch, all places on the screen px.

// What `GET /watch` sends; see `watch.py` and `store/changes.py`.

interface Message {
  now: number;
  isFirst?: boolean; // it contains everything, and not only what is new
  leftOut?: boolean; // the store has older promises
  promises?: SentPromise[];
  tasks?: SentTask[];
  attempts?: SentAttempt[];
  callbacks?: { promiseId: string; rootPromiseId: string; recv?: string }[];
  uses?: SentUse[];
  events?: SentEvent[];
  processes?: { group: string; id: string; isSilent: boolean }[];
}

interface SentPromise {
  sortId: number;
  id: string;
  state: string;
  createdOn: number;
  completedOn?: number;
  parent?: string;
  timeout?: number; // only of timers
  value?: string;
  size?: number; // if the value is cut
}

// When a process was sent a task, and when it claimed it.
interface Sent { sortId: number; rootPromiseId: string; sentOn?: number; claimedOn?: number }

interface SentTask extends Sent {
  createdOn: number;
  completedOn?: number;
  leafPromiseId?: string;
  isTimer?: number;
  processId?: string;
  expiresAt?: number;
  ttl?: number;
  deaths?: number;
  recv?: string;
}

interface SentAttempt extends Sent { task: number; processId: string; endedOn: number; outcome: string }

interface SentUse { sortId: number; promiseId: string; callerId?: string; createdOn: number }

interface SentEvent {
  sortId: number;
  type: string;
  createdOn: number;
  processId?: string;
  group?: string;
  number?: number;
  activeUntil?: number;
}

// A promise as the API gives it, and as a saved page contains it.
interface FullPromise {
  id: string;
  state: string;
  timeout?: number;
  createdOn: number;
  completedOn?: number;
  value?: Value;
  param?: Value;
  tags?: Record<string, string>;
}

interface Value { data?: string; text?: string } // the text in a saved page

// What the page makes of that.

// A call: a promise with what is known about it.
interface Call extends SentPromise {
  parentNode?: Call;
  root: Call;
  children: Call[];
  timers: Map<string, SentPromise>; // the pending ones
  endedTimers: Set<string>;
  tasks: Map<number, SentTask>;
  lost: SentAttempt[];
  attempts?: Attempt[];
  uses: SentUse[]; // when its stored result was used again
  waits: Set<string>; // what it has ever waited for
  callers: Set<string>; // other calls than its parent that use it
  refs: Set<string>; // calls that it uses, and that another call has made
  // Of a root: when something happened below it last, in which version of the model, and its run.
  active: number;
  version: number;
  run: Run;
}

// An attempt at a call: when its task became available, when the server sent it, when and by which
// process it was claimed, until when that process has it, and when and how the attempt ended.
interface Attempt {
  availableOn: number;
  sentOn?: number;
  claimedOn?: number;
  endedOn?: number;
  processId?: string;
  isTimer?: number;
  leaf?: string; // what the call waited for before
  outcome?: string;
  expiresAt?: number;
  ttl?: number;
  deaths?: number; // how many workers in a row have ended while they ran it, if more than one
  recv?: string; // where its task is to be sent, if no worker is there
}

interface Process {
  id: string;
  group: string;
  number: number; // its place in its group, from 1; 0 if not known
  name: string; // such as "worker 1"
  mark: string; // what tells it from a namesake: its pid, or the beginning of its id
  colour: number;
  firstOn: number; // when it connected first
  connectedOn: number; // when it connected last
  leftOn?: number; // when it disconnected, if it has not come back
  isConnected: boolean;
  isSilent: boolean;
  hasClaimed: boolean; // whether it has claimed a task
  hasAsked: boolean; // whether it has waited for a result, as a client does
}

interface Axis { from: number; to: number }

// Roots whose times overlap.
interface Run {
  roots: Call[];
  from: number;
  end: number;
  isPending: boolean;
  story?: Story;
}

// A worker runs a call, from the claim of its task until it finishes, waits or is cut off.
interface Step { call: Call; attempt: Attempt; process: Process; from: number; to?: number }

// From one step to the next: a call or a return.
interface Pass { from: Step; to: Step; at: number; isReturn: boolean }

// What a worker had when it failed, and the step that ran it again.
interface Loss { call: Call; attempt: Attempt; again?: Step }

// killed: it disconnected while it had a call; left: it disconnected and had none; expired: it did
// not answer in time. `stored` is how many other calls were pending at that moment.
interface Incident {
  kind: "killed" | "left" | "expired";
  process: Process;
  at: number;
  losses: Loss[];
  stored: number;
}

interface Story { calls: Call[]; steps: Map<Call, Step[]>; passes: Pass[]; incidents: Incident[] }

// A row: the head of a run, a call, or calls that are left out.
interface Row {
  kind: "run" | "call" | "fold";
  key: string;
  call: Call;
  level: number;
  indent: number;
  chain?: string; // the id of its first call
  hidden?: Call[];
  pending?: number; // of the hidden ones
}

type Start = Pick<Row, "call" | "level" | "indent">;

type Matches = ((call: Call) => boolean) | undefined;

// How the workers' lanes are laid out.
interface Layout {
  model: Model;
  axis: Axis;
  x: (time: number) => number;
  width: number;
  lane: number; // the height of one
  places: Map<Process, number>; // the top of each
  height: number;
  adders: Map<Process, (at: number, words: string, className: string, align?: number) => boolean>; // of labels
}

type Model = import("./model.js").Model;
type Runs = import("./runs.js").Runs;
type Tree = import("./tree.js").Tree;
