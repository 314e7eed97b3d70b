import { describe, expect, it } from 'vitest';
import { PageElection, type IAwareness } from '../src/pageelection';

type IListener = Parameters<IAwareness['on']>[1];

/** A shared notebook: pages join and leave, and each sees the states of all. */
class Room {
  private readonly _states = new Map<number, { [name: string]: unknown }>();
  private readonly _listeners = new Map<number, IListener>();

  join(clientID: number): PageElection {
    this._states.set(clientID, {});
    const awareness: IAwareness = {
      clientID,
      getStates: () => this._states,
      setLocalStateField: (field, value) => {
        this._states.set(clientID, { ...this._states.get(clientID), [field]: value });
      },
      on: (_, listener) => void this._listeners.set(clientID, listener),
      off: () => void this._listeners.delete(clientID)
    };
    return new PageElection(awareness);
  }

  leave(clientID: number): void {
    this._states.delete(clientID);
    this._listeners.delete(clientID);
    this._listeners.forEach(listener => listener({ removed: [clientID] }));
  }

  /** A page without this extension. */
  joinOther(clientID: number): void {
    this._states.set(clientID, { user: { name: 'Ada' } });
  }
}

describe('PageElection', () => {
  it('is alone in a notebook that is not shared', async () => {
    const election = new PageElection(null);
    election.claim('a');
    expect(await election.isAlone()).toBe(true);
    expect(election.isWrittenElsewhere('a')).toBe(false);
  });

  it('shows the others which executions a page writes', async () => {
    const room = new Room();
    const [first, second] = [room.join(1), room.join(2)];
    first.claim('a');

    expect(second.isWrittenElsewhere('a')).toBe(true);
    expect(first.isWrittenElsewhere('a')).toBe(false);
    expect(await second.isAlone()).toBe(false);
    first.release('a');
    expect(second.isWrittenElsewhere('a')).toBe(false);
  });

  it('lets the page with the lowest id take over when another one leaves', () => {
    const room = new Room();
    const pages = [1, 2, 3].map(id => room.join(id));
    const took: number[] = [];
    pages.forEach((page, index) => page.tookOver.connect(() => took.push(index + 1)));

    room.leave(1);
    room.leave(3);

    expect(took).toEqual([2, 2]);
  });

  it('does not count pages without this extension', async () => {
    const room = new Room();
    room.joinOther(1);
    const election = room.join(2);
    expect(await election.isAlone()).toBe(true);
  });

  it('hears nothing after it was disposed', () => {
    const room = new Room();
    room.join(1);
    const election = room.join(2);
    let count = 0;
    election.tookOver.connect(() => (count += 1));
    election.dispose();
    room.leave(1);
    expect(count).toBe(0);
  });
});
