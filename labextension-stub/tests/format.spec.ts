import { nullTranslator } from '@jupyterlab/translation';
import { describe, expect, it } from 'vitest';
import { formatDuration, formatSize, formatTiming, stateLabel } from '../src/format';
import { STATES } from '../src/restapi';
import { execution } from './executions';

describe('formatDuration', () => {
  it.each([
    [0.04, '0.0 s'],
    [9.94, '9.9 s'],
    [12.4, '12 s'],
    [65, '1:05'],
    [3723, '1:02:03']
  ])('shows %d seconds as %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});

describe('formatTiming', () => {
  it('shows for how long an execution has run', () => {
    const running = execution({ state: 'running', start_time: '2026-11-30T10:00:00Z' });
    expect(formatTiming(running, Date.parse('2026-11-30T10:01:05Z'))).toBe('1:05');
  });

  it('shows when an execution ended and how long it took', () => {
    const ended = execution({
      state: 'succeeded',
      end_time: '2026-11-30T10:00:00Z',
      duration_seconds: 65
    });
    expect(formatTiming(ended)).toMatch(/ · 1:05$/);
  });
});

describe('stateLabel', () => {
  it('has a name for each state', () => {
    const trans = nullTranslator.load('');
    expect(new Set(STATES.map(state => stateLabel(state, trans))).size).toBe(STATES.length);
  });
});

describe('formatSize', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.0 KB'],
    [999_960, '1000 KB'],
    [1_250_000, '1.3 MB'],
    [250_000_000_000, '250 GB']
  ])('shows %d bytes as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
