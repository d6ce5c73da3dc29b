// What the hub records, in words for people.
import type { Entry, Undo } from './api';

export const short = (id: string | null | undefined): string => (id ?? '').replace(/^sha256:/, '').slice(0, 8);
/** The end of a UUID v7: its beginning is the time, which many share. */
export const shortId = (id: string | null | undefined): string => (id ?? '').slice(-8);

const UUIDS = /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}([0-9a-f]{8})\b/g;
/** A text in which ids are cut to their ends, by which people tell them apart. */
export const brief = (text: string): string => text.replace(UUIDS, '…$1');

/** A whole number with its thousands apart. Not by `toLocaleString`: the first call takes longer than drawing a view. */
export const thousands = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',');
export const count = (n: number, word: string): string => `${thousands(n)} ${word}${n === 1 ? '' : 's'}`;

/** The kind of mark that an entry gets: its colour and its sign. */
export type Mark = 'good' | 'bad' | 'back' | 'busy' | 'talk' | 'plain';

export function mark(entry: Entry): Mark {
  const event = (entry.event ?? {}) as Record<string, unknown>;
  const state = stateOf(event.state);
  switch (entry.kind) {
    case 'deployment_finished':
      return state === 'succeeded' ? 'good' : state === 'rolled_back' ? 'back' : 'bad';
    case 'rollout_state_changed':
      return state === 'succeeded' ? 'good' : state === 'halted' ? 'bad' : 'plain';
    case 'undo_state_changed':
      return state === 'verified' ? 'good' : state === 'failed' || state === 'conflicted' ? 'bad' : 'back';
    case 'undo_requested': case 'undo_pushed': return 'back';
    case 'deployment_started': case 'rollout_started': return 'busy';
    case 'conversation_opened': case 'conversation_closed': case 'change_linked': return 'talk';
    case 'drift_reported': case 'repository_health_changed': case 'safe_mode_entered': return 'bad';
    case 'safe_mode_left': return 'good';
    case 'fleet_health_changed': return event.level === 'well' ? 'good' : 'bad';
    case 'emergency_stop_set': return event.stopped ? 'bad' : 'good';
    case 'agent_updated': return event.outcome === 'updated' ? 'good' : event.outcome === 'failed' ? 'bad' : 'plain';
    case 'agent_update_changed': return event.state === 'halted' ? 'bad' : 'busy';
    case 'backup_made': return event.failed ? 'bad' : 'good';
    case 'backup_failed': case 'backup_write_refused': return 'bad';
    case 'backup_verified': case 'hub_restored': return 'good';
    case 'backup_repository_checked': return Number(event.problems) > 0 ? 'bad' : 'good';
    case 'restore_asked': return 'back';
    case 'drill_finished': return event.failed ? 'bad' : 'good';
    case 'migration_started': return 'busy';
    case 'migration_moved': return event.step === 'switched' ? 'good' : event.step === 'stayed' ? 'bad' : 'busy';
    case 'restore_finished': return event.failed ? 'bad' : 'back';
    default: return 'plain';
  }
}

export const SIGN: Record<Mark, string> = { good: '✓', bad: '✕', back: '↩', busy: '…', talk: '❝', plain: '·' };

export const stateOf = (state: unknown): string =>
  typeof state === 'string' ? state : ((state as { state?: string } | null)?.state ?? '');

export const undoWord = (undo: Undo): string => stateOf(undo.state).replaceAll('_', ' ');

const INNER = ['desired_changed', 'release_created', 'backup_verified'];
/** Whether an entry says something to people at a glance. */
export const saidToPeople = (entry: Entry): boolean => !INNER.includes(entry.kind);

/** One line about an entry. `node` gives a node's name. */
export const line = (entry: Entry, node: (id: string | null | undefined) => string): string => brief(words(entry, node));

function words(entry: Entry, node: (id: string | null | undefined) => string): string {
  const event = (entry.event ?? {}) as Record<string, unknown>;
  const { refs } = entry;
  const where = [refs.stack, refs.node ? `on ${node(refs.node)}` : ''].filter(Boolean).join(' ');
  const state = stateOf(event.state);
  const reason = String(event.reason ?? (event.state as { reason?: string } | undefined)?.reason ?? '');
  const because = reason ? `: ${reason}` : '';
  switch (entry.kind) {
    case 'conversation_opened': return `A conversation with ${event.tool} began`;
    case 'conversation_closed': return `The conversation ended${because}`;
    case 'repository_added': return `Repository ${event.name} was added`;
    case 'repository_health_changed': return `The repository is ${health(event.health)}`;
    case 'branch_changed': return `Branch ${event.branch} of ${refs.stack} is ${health(event.health) === 'ok' ? `at ${short(String(event.tip))}` : health(event.health)}`;
    case 'repository_warned': return warned(event.warnings as { message: string }[], event.new as number);
    case 'change_seen': return `${event.subject} (${short(refs.commit)})`;
    case 'change_linked': return `Commit ${short(refs.commit)} belongs to a conversation`;
    case 'release_created': return `A release of ${refs.stack} was made`;
    case 'node_joined': return `${event.name} joined`;
    case 'node_labelled': {
      const set = Object.entries((event.set ?? {}) as Record<string, string>).map(([key, value]) => `${key}=${value}`);
      const labels = [...set, ...((event.removed ?? []) as string[]).map((key) => `${key}-`)].join(' ');
      return `${event.by} changed labels of ${node(refs.node)}: ${labels}${because}`;
    }
    case 'node_decommissioned': return `${event.by} took ${node(refs.node)} out of the fleet; ${event.kept_running ? 'what it ran keeps running' : 'it runs nothing any more'}${because}`;
    case 'node_revoked': return `${event.name} may no longer ask`;
    case 'rollout_started': return `${refs.stack} rolls out${because}`;
    case 'rollout_state_changed': return `The rollout of ${refs.stack} ${state}${because}`;
    case 'rollout_wave_opened': return `Wave ${event.wave} of the rollout of ${refs.stack} began${because}`;
    case 'release_promoted': return `${refs.stack} ${short(refs.commit)} was ${event.forced ? 'forced' : 'let'} into ${event.environment} by ${event.by}${because}`;
    case 'rollout_analysed': return `What failed of ${refs.stack} was looked at: ${((event.findings ?? []) as string[]).join('; ')}`;
    case 'rollout_paused': return `The rollout of ${refs.stack} ${event.paused ? 'was paused' : 'goes on'} by ${event.by}${because}`;
    case 'rollout_overridden': return `${event.by} let the rollout of ${refs.stack} go on in spite of freezes and windows${because}`;
    case 'fleet_health_changed': return `The fleet is ${({ well: 'well again', warned: 'not well: rollouts go slower', halted: 'not well: rollouts are paused', stopped: 'not well: everything was stopped' } as Record<string, string>)[String(event.level)] ?? 'looked at'}${because}`;
    case 'emergency_stop_set': return `${event.by} ${event.stopped ? 'stopped everything' : 'let everything go on'}${because}`;
    case 'desired_changed': return `${node(refs.node)} was told what to run`;
    case 'deployment_started': return `Deploying ${where}`;
    case 'deployment_finished': return `${where} ${state.replaceAll('_', ' ')}${because}`;
    case 'agent_kept': return `${event.detail}, by ${event.by}`;
    case 'agent_update_changed': {
      const done = event.state === 'running' ? `goes out, wave ${event.wave}` : event.state === 'halted' ? 'was stopped' : 'is asked for everywhere';
      return `Agent ${event.version} ${done}, by ${event.by}${because}`;
    }
    case 'agent_updated':
      return event.outcome === 'updated' ? `${node(refs.node)} runs agent ${event.version} now`
        : `${node(refs.node)}: agent ${event.version} ${event.outcome === 'failed' ? 'failed, the one before runs' : 'was not tried'}${because}`;
    case 'drift_reported': return `${node(refs.node)}: ${event.detail}`;
    case 'safe_mode_entered': return `${node(refs.node)} is in safe mode, for ${refs.stack}${because}`;
    case 'safe_mode_leave_asked': return `${event.by} said that ${node(refs.node)} may leave safe mode${because}`;
    case 'safe_mode_left': return `${node(refs.node)} left safe mode${because}`;
    case 'node_was_cut_off': return `${node(refs.node)} had no hub for a while: ${event.detail}`;
    case 'constraint_set': {
      const effect = (event.effect ?? {}) as { effect?: string; commit?: string; tree?: string; branch?: string };
      const what = effect.commit ? ` on commit ${short(effect.commit)}` : effect.tree ? ` on version ${short(effect.tree)}` : effect.branch ? ` to ${effect.branch}` : '';
      return `${constraintName(effect.effect)} was set${what}${where ? ` for ${where}` : ''}${because}`;
    }
    case 'constraint_lifted': return `A constraint was lifted${because}`;
    case 'undo_requested': return `${event.by} asked for an undo${because}`;
    case 'undo_state_changed': return `The undo is ${state.replaceAll('_', ' ')}${because}`;
    case 'undo_pushed': return (event.push as { push?: string } | undefined)?.push === 'awaiting_merge' ? 'The undo waits to be merged in Git' : 'The undo was pushed to Git';
    case 'backup_made': {
      const what = `${whose(refs, node)} was backed up${REASONS[String(event.reason)] ?? ''}: ${count(Number(event.snapshots), 'snapshot')}`;
      return event.failed ? `${what}, and something is missing: ${event.failed}` : what;
    }
    case 'backup_failed': return `The backup of ${whose(refs, node)} failed: ${event.why}`;
    case 'backup_verified': return `${count(((event.snapshots ?? []) as string[]).length, 'snapshot')} of ${whose(refs, node)} ${event.second ? 'reached the second target and are' : 'read back at the target are'} right`;
    case 'backup_repository_checked':
      return Number(event.problems) > 0 ? `Backups of ${whose(refs, node)} are damaged: ${event.first ?? count(Number(event.problems), 'problem')}` : `Backups of ${whose(refs, node)} are right again${event.first ? `: ${event.first}` : ''}`;
    case 'restore_asked': return `${event.by} asked for ${refs.stack ?? 'data'} ${refs.node ? `on ${node(refs.node)} ` : ''}to be restored from ${short(String(event.snapshot))}${event.of_node ? ` of ${node(String(event.of_node))}` : ''}${event.in_place ? ', in place' : ''}`;
    case 'restore_finished': return `${refs.stack ?? 'Data'} ${refs.node ? `on ${node(refs.node)} ` : ''}${event.failed ? `was not restored: ${event.failed}` : `was restored from ${short(String(event.snapshot))}`}`;
    case 'drill_asked': return `${event.by} asked for a drill of ${refs.stack ?? 'data'}${refs.node ? ` on ${node(refs.node)}` : ''} with ${short(String(event.snapshot))}`;
    case 'drill_finished': return `A drill of ${refs.stack ?? 'data'}${refs.node ? ` on ${node(refs.node)}` : ''} ${event.failed ? `failed: ${event.failed}` : `passed: restored, compared${event.started ? ', started and probed' : ''}`}`;
    case 'backups_pruned': return `${count(((event.snapshots ?? []) as string[]).length, 'snapshot')} of ${whose(refs, node)} went by retention`;
    case 'backup_write_refused': return `${node(refs.node)} tried to change its backups and was refused: ${event.what}`;
    case 'snapshot_held': return `${event.by} ${event.held ? 'holds' : 'released'} snapshot ${short(String(event.snapshot))}${because}`;
    case 'backup_cancelled': return `${event.by} cancelled a job about backups of ${whose(refs, node)}`;
    case 'backup_target_accepted': return `${event.by} accepted what is at the backup target ${event.place}`;
    case 'migration_started': return `${event.by} moves ${((event.stacks ?? []) as string[]).join(', ')} from ${node(refs.node)} to ${node(String(event.to))}${because}`;
    case 'migration_moved': return `${refs.stack}, from ${node(refs.node)} to ${node(String(event.to))}: ${String(event.step).replaceAll('_', ' ')}${event.why ? `, since ${event.why}` : ''}`;
    case 'migration_cancelled': return `${event.by} ended a move from ${node(refs.node)}`;
    case 'recovery_key_set': return `${event.by} set the recovery key`;
    case 'hub_restored': return `This hub was restored from snapshot ${short(String(event.snapshot))}`;
    case 'token_changed': return String(event.detail);
    case 'user_changed': return `${event.by} ${userChange(event.change as Record<string, string>, String(event.name))}`;
    default: return entry.kind.replaceAll('_', ' ');
  }
}

const REASONS: Record<string, string> = { schedule: '', manual: ' on request', deployment: ' before a deployment', rollback: ' before a way back', safety: ' before a restore', migration: ' to move to another node' };
const whose = (refs: Entry['refs'], node: (id: string | null | undefined) => string): string => (refs.node ? node(refs.node) : 'the hub');

function userChange(done: Record<string, string>, user: string): string {
  switch (done.change) {
    case 'created': return `made the user ${user}, as ${done.role}`;
    case 'role_changed': return `made ${user} ${done.to}, who was ${done.from}`;
    case 'disabled': return `disabled ${user}`;
    case 'enabled': return `let ${user} in again`;
    case 'link_made': return `made a link for ${user}`;
    case 'password_set': return `set the password of ${user}`;
    case 'signed_out': return `signed ${user} out everywhere`;
    default: return `changed ${user}`;
  }
}

const CONSTRAINTS: Record<string, string> = { pin: 'A pin', follow: 'A branch', hold: 'A hold', ban: 'A ban', freeze: 'A freeze', updates_off: 'Updates off', maintenance: 'Maintenance', decommission: 'A decommission', runs_here: 'A move to it', runs_not: 'A move away from it' };
/** What people call a constraint, by its effect. */
export const constraintName = (effect?: string): string => CONSTRAINTS[effect ?? ''] ?? 'A constraint';

const health = (value: unknown): string => {
  const found = typeof value === 'string' ? value : (value as { state?: string } | undefined)?.state;
  return (found ?? 'changed').replaceAll('_', ' ');
};

const warned = (warnings: { message: string }[], all: number): string =>
  `The repository: ${warnings[0]?.message ?? ''}${all > 1 ? `, and ${all - 1} more to look at` : ''}`;
