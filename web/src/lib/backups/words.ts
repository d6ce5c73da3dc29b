// Backups in words: how they stand, what a job does, how far it is, how far a snapshot is proven.
import { type BackupHealth, type BackupJob, type BackupSettings, type Entry, get, type Page, type Proof, type Snapshot, type SnapshotFiles } from '../api';
import { bytes, duration } from '../things';
import { count, short, thousands } from '../words';

/** Those that need a person first, as the hub sorts them. */
export const HEALTHS: BackupHealth[] = ['damaged', 'failed', 'full', 'late', 'unproven', 'never', 'good', 'nothing'];
export const HEALTH: Record<BackupHealth, string> = {
  damaged: 'damaged', failed: 'failed', full: 'no room', late: 'late', unproven: 'not proven', never: 'none yet', good: 'good', nothing: 'nothing to save',
};

export const PROOFS: Proof[] = ['created', 'matched', 'verified', 'replicated', 'drilled'];
export const PROVES: Record<Proof, string> = {
  created: 'it was written', matched: 'it holds every file that was to be saved', verified: 'all its data was read back from the target and is right',
  replicated: 'the second target has it too, read back there', drilled: 'it was restored to scratch, compared and tried',
};
/** Whether it is good enough to be restored and counted. */
export const proven = (proof: Proof): boolean => PROOFS.indexOf(proof) >= PROOFS.indexOf('verified');

export const REASONS: Record<Snapshot['reason'], string> = {
  schedule: 'on schedule', manual: 'on request', deployment: 'before a deployment', rollback: 'before a way back', safety: 'before a restore, as its way back', migration: 'for a move to another node',
};

type Destination = Extract<BackupJob, { task: 'restore' }>['destination'];
function whither(to: Destination): string {
  switch (to.to) {
    case 'in_place': return 'in place';
    case 'folder': return `into ${to.path}`;
    case 'with_deployment': return 'with a deployment';
    case 'before_start': return 'before it first starts';
    case 'ahead': return 'ahead of a move';
  }
}

export const TASKS: Record<BackupJob['task'], string> = {
  save: 'Backup', restore: 'Restore', drill: 'Drill', verify: 'Read back', check: 'Check', prune: 'Prune', files: 'List of files',
};
export const JOB_STATES = ['queued', 'running', 'done', 'failed', 'cancelled'] as const;
export const final = (job: BackupJob): boolean => job.state === 'done' || job.state === 'failed' || job.state === 'cancelled';

/** What a job does, in a few words. */
export function does(job: BackupJob): string {
  switch (job.task) {
    case 'save': return `Backup of ${job.stacks?.length ? job.stacks.join(', ') : job.node ? 'all its data' : 'its own state'}, ${REASONS[job.reason]}`;
    case 'restore': return `Restore of ${job.stack} from ${short(job.snapshot)} ${whither(job.destination)}`;
    case 'drill': return `Drill of ${job.stack} with ${short(job.snapshot)}${job.files_only ? ', files only' : ''}`;
    case 'verify': return `Read back ${job.snapshots.length === 1 ? `snapshot ${short(job.snapshots[0])}` : job.snapshots.length ? count(job.snapshots.length, 'snapshot') : 'what is not proven yet'}`;
    case 'check': return `Check of the repository${job.read ? (job.read[1] === 1 ? ' with all its data' : `, part ${Number(job.read[0]) + 1} of ${job.read[1]} of its data`) : "'s structure"}`;
    case 'prune': return job.dry_run ? 'Count of what a prune would free' : 'Prune: what retention does not keep goes';
    case 'files': return `Files of ${short(job.snapshot)}${job.path ? ` in ${job.path}` : ''}`;
  }
}

const PHASES: Record<NonNullable<BackupJob['progress']>['phase'], string> = {
  waiting: 'waits for a deployment or another backup', preparing: 'dumps and copies what must stand still', saving: 'reads and sends',
  verifying: 'reads back what it sent', safety: 'makes the safety snapshot', stopping: 'stops the stack', restoring: 'fetches and writes', starting: 'starts the stack and probes it',
  comparing: 'compares what it restored', clearing: 'takes away what it made',
};

/** How far a job is, in words. */
export function far({ progress }: BackupJob): string {
  if (!progress) return 'waits for its first word';
  const of = progress.bytes_total ? `${bytes(progress.bytes)} of ${bytes(progress.bytes_total)}` : progress.bytes ? bytes(progress.bytes) : '';
  const files = progress.files_total ? `${thousands(progress.files)} of ${count(progress.files_total, 'file')}` : progress.files ? count(progress.files, 'file') : '';
  return [`${progress.stack ? `${progress.stack}: ` : ''}${PHASES[progress.phase]}`, of, files].filter(Boolean).join(', ');
}

/** The share that is done, from 0 to 1; null while nobody knows. */
export function share({ progress }: BackupJob): number | null {
  if (!progress) return null;
  const [done, all] = progress.bytes_total ? [progress.bytes, progress.bytes_total] : [progress.files, progress.files_total ?? 0];
  return all > 0 ? Math.min(1, done / all) : null;
}

/** Percent that ended well; null when none ended. */
export const rate = ({ done, failed }: { done: number; failed: number }): string | null => {
  if (done + failed === 0) return null;
  const percent = (100 * done) / (done + failed);
  // Never rounded up to a hundred: that would hide a failure.
  return `${failed > 0 ? Math.min(99.99, percent).toFixed(percent > 99 ? 2 : 1) : 100} %`;
};

/** Whether the next one should have begun by now: then it waits for its turn. */
export const due = (next: string, now = Date.now()): boolean => Date.parse(next) <= now;

/** How often there are drills. */
const drillRule = (of: BackupSettings): string => of.drill_every_seconds === 0
  ? 'Drills, which restore to scratch and compare, are made by hand alone.'
  : `Each stack of each node is drilled every ${duration(of.drill_every_seconds * 1000)}: restored to scratch, compared and, where it allows that, started.`;

/** Rules in words. */
export function rules(of: BackupSettings): string[] {
  const { keep } = of;
  const days = (seconds: number) => (seconds % 86_400 === 0 ? count(seconds / 86_400, 'day') : duration(seconds * 1000));
  return [
    `Every ${duration(of.every_seconds * 1000)} and before each deployment, ${count(of.parallel, 'node')} at once${of.bytes_per_second ? `, at most ${bytes(of.bytes_per_second)} a second each` : ''}.`,
    `Kept: the newest of ${count(keep.hourly, 'hour')}, ${count(keep.daily, 'day')}, ${count(keep.weekly, 'week')} and ${count(keep.monthly, 'month')}, at most ${count(keep.days, 'day')}; always the newest ${thousands(keep.at_least)} that are proven, what is held, and what an undo may need.`,
    drillRule(of),
    `All data is read back once in ${days(of.read_all_every_seconds)}.`,
    ...(of.max_bytes || of.max_bytes_per_node ? [`No new ones by schedule, and only what must be kept stays, from ${[of.max_bytes ? `${bytes(of.max_bytes)} in all` : '', of.max_bytes_per_node ? `${bytes(of.max_bytes_per_node)} of a node` : ''].filter(Boolean).join(' or ')}.`] : []),
  ];
}

/** Whether a ledger entry says something about backups. */
export const concerns = ({ kind }: Entry): boolean => /^(backup|restore|drill|snapshot|recovery_key)/.test(kind);

const PAUSE = 700;
/** Waits until a job has ended; an error when it failed. */
export async function ended(job: BackupJob, signal: AbortSignal): Promise<BackupJob> {
  for (let one = job; ; one = await get<BackupJob>(`/api/v1/backups/jobs/${job.id}`, {}, signal)) {
    if (one.state === 'done') return one;
    if (final(one)) throw new Error(one.result?.failed ?? `The job was ${one.state}.`);
    await new Promise((then) => setTimeout(then, PAUSE));
    signal.throwIfAborted();
  }
}

/** What a job of `files` found. */
export const filesOf = (job: string, signal: AbortSignal): Promise<SnapshotFiles> => get<SnapshotFiles>(`/api/v1/backups/jobs/${job}/files`, {}, signal);

/** The newest that is proven, of a list with the newest first. */
export const newestProven = ({ items }: Page<Snapshot>): Snapshot | undefined => items.find((one) => proven(one.proof) && !one.damaged_at);
