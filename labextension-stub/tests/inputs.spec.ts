import { describe, expect, it } from 'vitest';
import {
  DEFAULT_OPTIONS,
  isSecretName,
  isValidName,
  mergedInputs,
  RememberedOptions,
  suggestedNames
} from '../src/inputs';
import { MemoryStorage } from './executions';

describe('suggestedNames', () => {
  it('finds the environment variables that Python, R and JavaScript code reads', () => {
    const sources = [
      'import os\nyear = os.environ["YEAR"]\nos.environ.get(\'REGION\', "eu")',
      'x <- Sys.getenv("MODEL"); os.getenv( "YEAR" )',
      'process.env.LEVEL'
    ];
    expect(suggestedNames(sources)).toEqual(['YEAR', 'REGION', 'MODEL', 'LEVEL']);
  });

  it('leaves out names that the server refuses as inputs', () => {
    expect(suggestedNames(['os.environ["PATH"], os.getenv("JUPYTER_TOKEN")'])).toEqual([]);
  });

  it('ignores names that are computed', () => {
    expect(suggestedNames(['os.environ[name]', 'os.environ["not a name"]'])).toEqual([]);
  });
});

describe('names', () => {
  it.each(['API_TOKEN', 'DB_PASSWORD', 'MY_API_KEY', 'client_secret'])('masks %s', name => {
    expect(isSecretName(name)).toBe(true);
  });

  it.each([
    ['A_1', true],
    ['_x', true],
    ['1x', false],
    ['a-b', false],
    ['', false]
  ])('knows whether %j is valid', (name, valid) => {
    expect(isValidName(name)).toBe(valid);
  });
});

describe('RememberedOptions', () => {
  const options = {
    ...DEFAULT_OPTIONS,
    saveTo: 'copy' as const,
    cells: [3],
    inputs: [
      { name: 'YEAR', value: '2026', isSecret: false },
      { name: 'API_TOKEN', value: 'hidden', isSecret: true }
    ]
  };

  it('keeps the options of a notebook, but neither secrets nor the choice of cells', () => {
    const remembered = new RememberedOptions('http://host/', window.localStorage);
    remembered.save('a.ipynb', options);

    expect(JSON.stringify({ ...window.localStorage })).not.toContain('hidden');
    const loaded = remembered.load('a.ipynb');
    expect(loaded?.inputs.map(({ value }) => value)).toEqual(['2026', '']);
    expect(loaded?.saveTo).toBe('copy');
    expect(loaded?.cells).toBeNull();
  });

  it('keeps the options of the last 100 executions, without secrets', () => {
    const storage = new MemoryStorage();
    const remembered = new RememberedOptions('http://host/', storage);
    for (let run = 0; run <= 100; run++) {
      remembered.saveRun(`id-${run}`, options);
    }

    const loaded = remembered.loadRun('id-100');
    expect(loaded?.inputs.map(({ value }) => value)).toEqual(['2026', '']);
    expect(loaded?.cells).toEqual([3]);
    expect(remembered.loadRun('id-1')).not.toBeNull();
    expect(remembered.loadRun('id-0')).toBeNull();
  });

  it('keeps servers and notebooks apart', () => {
    new RememberedOptions('http://one/', window.localStorage).save('b.ipynb', options);
    expect(new RememberedOptions('http://two/', window.localStorage).load('b.ipynb')).toBeNull();
  });

  it('works in a browser that blocks its storage', () => {
    const blocked = {
      getItem: () => {
        throw new DOMException('denied', 'SecurityError');
      },
      setItem: () => {
        throw new DOMException('full', 'QuotaExceededError');
      }
    } as unknown as Storage;
    const remembered = new RememberedOptions('http://host/', blocked);
    remembered.save('a.ipynb', options);
    expect(remembered.load('a.ipynb')).toBeNull();
  });
});

describe('mergedInputs', () => {
  it('adds an empty row for each suggested name that has no row', () => {
    const merged = mergedInputs(
      [{ name: 'YEAR', value: '2026', isSecret: false }],
      ['YEAR', 'API_TOKEN']
    );
    expect(merged).toEqual([
      { name: 'YEAR', value: '2026', isSecret: false },
      { name: 'API_TOKEN', value: '', isSecret: true }
    ]);
  });
});
