import jupyter from '@jupyter/eslint-plugin';
import reactHooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default tseslint.config(
    { ignores: ['lib', 'node_modules', '*.mjs', '*.config.ts'] },
    ...tseslint.configs.recommendedTypeChecked,
    {
        languageOptions: {
            parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname }
        },
        plugins: { '@jupyter': jupyter, 'react-hooks': reactHooks },
        rules: {
            ...reactHooks.configs.recommended.rules,
            '@typescript-eslint/no-explicit-any': 'error',
            '@typescript-eslint/no-namespace': 'off',
            // Lumino's signals take a method together with its object.
            '@typescript-eslint/unbound-method': 'off',
            'no-console': 'error',
            eqeqeq: 'error'
        }
    }
);
