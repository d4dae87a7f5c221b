//! Every bound that users can meet, in one place, with its reason. At a limit a request is refused with a
//! typed error that names the limit.

/// A task spec as JSON: larger inputs belong in a file that the task reads.
pub const SPEC_BYTES: usize = 1 << 20;
/// A result kept with its task: larger output belongs in a file that the result names.
pub const RESULT_BYTES: usize = 256 << 10;
/// What an attempt says beside a percentage: it fits a line of a terminal.
pub const PROGRESS_MESSAGE_BYTES: usize = 256;
/// One WebSocket message or one line of NDJSON: bounds what a connection can make the daemon hold.
pub const FRAME_BYTES: usize = 16 << 20;
/// One request body read as a whole (a JSON array or a workflow); bulk adds stream as NDJSON without it.
pub const BODY_BYTES: usize = 64 << 20;
/// A task's name: fits a table and a log line.
pub const NAME_BYTES: usize = 256;
/// An idempotency key: room for a UUID and a prefix.
pub const KEY_BYTES: usize = 128;
/// A part of a resource name.
pub const RESOURCE_PART_BYTES: usize = 128;
/// Different resources one task may claim: admission looks at each of them.
pub const CLAIMS: usize = 64;
/// Variants of one task: while it waits, admission looks at each of them.
pub const VARIANTS: usize = 16;
/// A tag: a word or two.
pub const TAG_BYTES: usize = 128;
/// Tags of one task.
pub const TAGS: usize = 64;
/// Tasks waiting or running at once; at some hundred bytes each this is what a large machine holds.
pub const BACKLOG: usize = 20_000_000;
/// Elements of one array: however many there are they are one record, but ids are spent on each.
pub const ARRAY_TASKS: u64 = 1_000_000_000;
/// Elements of an array, or ids of a range, that one dependency may stand for: each becomes an edge.
pub const RANGE_EDGES: u64 = 100_000;
/// Elements that one task of a workflow is made for: each has a record and an edge of its own.
pub const FOREACH_ITEMS: u64 = 10_000;
/// The results of its elements, or of the tasks of a sub-workflow, that a task ends with: some hundred bytes for
/// each of many; whoever depends on it is sent all of them.
pub const COLLECTED_BYTES: usize = 4 << 20;
/// Tasks in one workflow.
pub const WORKFLOW_TASKS: usize = 2_000_000;
/// Tasks in one workflow file: whoever reads it has each of them in memory, with a kilobyte or two.
pub const FILE_TASKS: usize = 1_000_000;
/// What a workflow, or tasks that are added all or none, may send line by line: two million tasks of 500 bytes.
pub const WORKFLOW_BYTES: usize = 1 << 30;
/// A workflow file that is kept: what people write; larger ones are run from where they are.
pub const DEFINITION_BYTES: usize = 8 << 20;
/// Workflows that are kept under their names, and files in the directory of them.
pub const DEFINITIONS: usize = 10_000;
/// The name of a file that is kept: the longest path (PATH_MAX, limits.h).
pub const FILE_NAME_BYTES: usize = 4096;
/// Hooks of one workflow: each looks at every event of it.
pub const WORKFLOW_HOOKS: usize = 16;
/// Sessions that are not closed: each is in memory.
pub const SESSIONS: usize = 10_000;
/// Processes that one worker runs at once: each has a directory and four open files.
pub const SLOTS: u32 = 10_000;
/// Commands waiting for the engine: a few batches, so that a burst meets backpressure and not growth.
pub const INBOX: usize = 4096;
/// Tasks that one bulk command carries to the engine.
pub const BULK_TASKS: usize = 1000;
/// Refusals that one answer tells of a request that is refused as a whole: more than anybody mends at once.
pub const REFUSALS: usize = 1000;
/// Connections to the daemon at once.
pub const CONNECTIONS: usize = 1024;
/// Connections of one user who is no admin: nobody takes all of them.
pub const CONNECTIONS_OF_USER: usize = 512;
/// Connections that only admins may take: whatever others do, the daemon can be asked and ended.
pub const CONNECTIONS_KEPT: usize = 64;
/// What a published event says, as JSON: each is held for subscribers that lag behind.
pub const EVENT_BYTES: usize = 8 << 10;
/// Events that a subscriber may lag behind before it is told that it lost some.
pub const SUBSCRIBER_EVENTS: usize = 8192;
/// Attempts of one task, over all its runs.
pub const ATTEMPTS: u32 = 1_000_000;
/// Standard output or standard error kept of one attempt, unless it is configured otherwise: the beginning and
/// the end; what is between is dropped.
pub const OUTPUT_BYTES: u64 = 1 << 30;
/// The least that can be configured: some blocks of the file system at both ends.
pub const OUTPUT_LEAST_BYTES: u64 = 64 << 10;

const _: () = assert!(SPEC_BYTES < FRAME_BYTES && RESULT_BYTES < FRAME_BYTES && FRAME_BYTES <= BODY_BYTES);
// Every character may be written as six.
const _: () = assert!(DEFINITION_BYTES * 6 + FILE_NAME_BYTES * 6 < BODY_BYTES);
const _: () = assert!(FILE_TASKS <= WORKFLOW_TASKS);
const _: () = assert!(CONNECTIONS_OF_USER + CONNECTIONS_KEPT < CONNECTIONS);
const _: () = assert!(FOREACH_ITEMS <= RANGE_EDGES && COLLECTED_BYTES < FRAME_BYTES);
/// Schedules: each is looked at whenever one is due.
pub const SCHEDULES: usize = 10_000;
/// Ticks of one schedule that wait for the run before them: more only grow the delay.
pub const QUEUED_TICKS: usize = 100;
