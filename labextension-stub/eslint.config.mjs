import jupyter from '@jupyter/eslint-plugin';
import reactHooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default tseslint.config(
    { ignores: ['lib', 'node_modules', '*.mjs', '*.config.ts'] },
    ...tseslint.configs.recommendedTypeChecked,
    ...jupyter.configs.recommended,
    {
        languageOptions: {
            parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname }
        },
        plugins: { 'react-hooks': reactHooks },
        rules: {
            ...reactHooks.configs.recommended.rules,
            '@typescript-eslint/no-explicit-any': 'error',
            '@typescript-eslint/no-namespace': 'off',
            // Lumino's signals take a method together with its object.
            '@typescript-eslint/unbound-method': 'off',
            'no-console': 'error',
            // All plugins start with JupyterLab, and their code is 80 kB.
            'jupyter/prefer-lazy-imports': 'off',
            // They do not see that a map, a tracker or the shell becomes the owner.
            'jupyter/require-disposable-ownership': 'off',
            'jupyter/require-disposable-transfer': 'off',
            eqeqeq: 'error'
        }
    }
);
