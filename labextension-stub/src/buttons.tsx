/** Buttons that explain why they are disabled. */
import type { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

export interface IActionButtonProps {
    /** The text of the button, or its name when it has an icon. */
    readonly label: string;
    /** What the button is for, where the label is not enough. */
    readonly title?: string;
    readonly icon?: LabIcon;
    /** Why the button is disabled; `null` when it is not. */
    readonly reason?: string | null;
    readonly isExpanded?: boolean;
    readonly onClick: () => void;
}

/** A button with a text or an icon. */
export function ActionButton(props: IActionButtonProps): React.ReactElement {
    const { label, title, icon: Icon, reason, isExpanded, onClick } = props;
    return (
        <button
            type="button"
            className={Icon ? 'jp-exec-IconButton' : 'jp-exec-Button'}
            aria-label={Icon && label}
            aria-expanded={isExpanded}
            title={reason ?? title ?? (Icon && label)}
            disabled={typeof reason === 'string'}
            onClick={onClick}
        >
            {Icon ? <Icon.react tag="span" /> : label}
        </button>
    );
}
