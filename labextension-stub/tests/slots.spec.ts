import { describe, expect, it } from 'vitest';
import { Slot, type ILease } from '../src/slots';

const never = new AbortController().signal;
const KEEPS = { canBeTaken: false, takes: true };
const STREAM = { canBeTaken: true, takes: true };
const RESUMED = { canBeTaken: true, takes: false };

describe('Slot', () => {
  it('has one holder at a time', async () => {
    const slot = new Slot();
    const order: string[] = [];
    const task = (name: string) => async (): Promise<void> => {
      order.push(`${name} begins`);
      await Promise.resolve();
      order.push(`${name} ends`);
    };
    await Promise.all([slot.run(task('first')), slot.run(task('second'))]);
    expect(order).toEqual(['first begins', 'first ends', 'second begins', 'second ends']);
  });

  it('is free again after a task that failed', async () => {
    const slot = new Slot();
    await expect(slot.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await slot.run(() => Promise.resolve(1))).toBe(1);
  });

  it('is taken from a stream, which gets it back afterwards', async () => {
    const slot = new Slot();
    const first = await slot.acquire(never, STREAM);
    const upload = slot.acquire(never, KEEPS);
    expect(first.signal.aborted).toBe(true);
    first.release();
    const resumed = slot.acquire(never, RESUMED);

    const lease = await upload;
    expect(lease.signal.aborted).toBe(false);
    lease.release();

    expect((await resumed).signal.aborted).toBe(false);
  });

  it('is not taken by a stream that only resumes', async () => {
    const slot = new Slot();
    const shown = await slot.acquire(never, STREAM);
    const ending = new AbortController();
    const resumed = slot.acquire(ending.signal, RESUMED);

    expect(shown.signal.aborted).toBe(false);
    ending.abort();
    await expect(resumed).rejects.toBe(ending.signal.reason);
    shown.release();
    (await slot.acquire(never, RESUMED)).release();
  });

  it('goes to those that keep it before those that it can be taken from', async () => {
    const slot = new Slot();
    const holder = await slot.acquire(never, KEEPS);
    const order: string[] = [];
    const note = (name: string) => (lease: ILease) => {
      order.push(name);
      lease.release();
    };
    const all = [
      slot.acquire(never, STREAM).then(note('stream')),
      slot.acquire(never, KEEPS).then(note('upload'))
    ];
    holder.release();
    await Promise.all(all);
    expect(order).toEqual(['upload', 'stream']);
  });
});
