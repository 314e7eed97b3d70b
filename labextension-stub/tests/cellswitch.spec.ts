import { beforeEach, describe, expect, it } from 'vitest';
import { CellSwitch } from '../src/cellswitch';

describe('CellSwitch', () => {
  beforeEach(() => window.localStorage.clear());

  it('is off at first, follows the setting, and lets a notebook have its own choice', () => {
    const cells = new CellSwitch('http://host/');
    expect(cells.isOn('a.ipynb')).toBe(false);

    cells.isDefaultOn = true;
    cells.set('b.ipynb', false);

    expect([cells.isOn('a.ipynb'), cells.isOn('b.ipynb')]).toEqual([true, false]);
  });

  it('remembers choices of each server in the browser', () => {
    new CellSwitch('http://host/').set('a.ipynb', true);
    expect(new CellSwitch('http://host/').isOn('a.ipynb')).toBe(true);
    expect(new CellSwitch('http://other/').isOn('a.ipynb')).toBe(false);
  });

  it('forgets a choice that is the same as the setting', () => {
    const cells = new CellSwitch('http://host/');
    cells.set('a.ipynb', true);
    cells.set('a.ipynb', false);

    const later = new CellSwitch('http://host/');
    later.isDefaultOn = true;
    expect(later.isOn('a.ipynb')).toBe(true);
  });

  it('keeps the choice for the page where the browser blocks its storage', () => {
    const blocked = {
      getItem: () => {
        throw new DOMException('denied', 'SecurityError');
      },
      setItem: () => {
        throw new DOMException('denied', 'SecurityError');
      }
    } as unknown as Storage;
    const cells = new CellSwitch('http://host/', blocked);
    cells.set('a.ipynb', true);
    expect(cells.isOn('a.ipynb')).toBe(true);
  });

  it('reports changes', () => {
    const cells = new CellSwitch('http://host/');
    let count = 0;
    cells.changed.connect(() => (count += 1));
    cells.isDefaultOn = true;
    cells.isDefaultOn = true;
    cells.set('a.ipynb', false);
    expect(count).toBe(2);
  });
});
