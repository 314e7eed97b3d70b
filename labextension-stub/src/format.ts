/** How states, durations and times are shown. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IExecution, State } from './restapi';

/** Return the name of a state for people. */
export function stateLabel(state: State, trans: TranslationBundle): string {
  switch (state) {
    case 'pending':
      return trans.__('Waiting');
    case 'running':
      return trans.__('Running');
    case 'cancelling':
      return trans.__('Cancelling');
    case 'succeeded':
      return trans.__('Succeeded');
    case 'failed':
      return trans.__('Failed');
    case 'cancelled':
      return trans.__('Cancelled');
  }
}

/** Return a duration such as `0.4 s`, `12 s`, `3:05` or `1:02:03`. */
export function formatDuration(seconds: number): string {
  if (seconds < 60) {
    return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  }
  const whole = Math.round(seconds);
  const pad = (part: number): string => String(part).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** Return a time as the browser's language writes it, without the date if that is today's. */
export function formatTime(time: string, now: Date = new Date()): string {
  const moment = new Date(time);
  const isToday = moment.toDateString() === now.toDateString();
  return isToday
    ? moment.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
    : moment.toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
}

/** Return when an execution ended and how long it took, or for how long it has run. */
export function formatTiming(execution: IExecution, now: number = Date.now()): string {
  if (execution.end_time) {
    const duration = execution.duration_seconds;
    const ended = formatTime(execution.end_time, new Date(now));
    return duration === undefined ? ended : `${ended} · ${formatDuration(duration)}`;
  }
  const since = execution.start_time ?? execution.created_time;
  return formatDuration(Math.max(0, (now - Date.parse(since)) / 1000));
}

/** Return a size such as `12 B`, `3.4 KB` or `1.2 GB`, with 1 KB = 1000 B. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  const power = Math.min(bytes < 1_000 ? 0 : Math.floor(Math.log10(bytes) / 3), units.length - 1);
  const value = bytes / 1_000 ** power;
  return `${power && value < 99.95 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

/** Return what an exception reports. */
export function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
